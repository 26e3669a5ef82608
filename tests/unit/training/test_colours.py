"""Jitter: values by hand, with Pillow's arithmetic, and what is drawn."""

import colorsys

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.training import colours
from seedbed.training.colours import jitter, turn_hue

torch.set_num_threads(1)

PIXELS = [(250, 10, 0), (30, 60, 90), (128, 128, 128), (0, 200, 255)]


class Drawn:
    """Stands for a generator: the factors minus one, then the turn, in an order."""

    def __init__(self, order, factors=(0.0, 0.0, 0.0), turn=0.0):
        self.order, self.draws = order, [np.array(factors), turn]

    def uniform(self, low, high, size=None):
        return self.draws.pop(0)

    def permutation(self, count):
        return self.order[:count]


def changed(drawn, hue=0.0, pixels=PIXELS):
    image = torch.tensor(pixels, dtype=torch.uint8).T[:, :, None]
    return jitter(image, 0.9, hue, drawn)[:, :, 0].T.numpy()


def blend(grey, pixels, factor):
    """Levels between grey (factor 0) and the pixels (1), or beyond, cut off."""
    return np.clip(grey + (np.array(pixels, float) - grey) * factor, 0, 255)


def grey_of(pixels):
    return np.round(np.array(pixels) @ [0.299, 0.587, 0.114])[:, None]


@pytest.mark.parametrize("factor", [0.3, 0.7, 1.4, 1.9])
def test_each_change_has_its_formula(factor):
    amount = factor - 1
    brightness = changed(Drawn([0, 1, 2], (amount, 0, 0)))
    assert np.abs(brightness - blend(0, PIXELS, factor)).max() < 1
    contrast = changed(Drawn([0, 1, 2], (0, amount, 0)))
    mean = np.floor(grey_of(PIXELS).mean() + 0.5)
    assert np.abs(contrast - blend(mean, PIXELS, factor)).max() < 1
    saturation = changed(Drawn([0, 1, 2], (0, 0, amount)))
    assert np.abs(saturation - blend(grey_of(PIXELS), PIXELS, factor)).max() < 1


def test_changes_come_in_the_order_drawn_and_are_clamped_after_each():
    factors = (0.9, -0.5, 0.0)
    first_brighter = blend(0, PIXELS, 1.9)
    expected = blend(grey_of(first_brighter).mean(), first_brighter, 0.5)
    assert np.abs(changed(Drawn([0, 1, 2], factors)) - expected).max() < 2
    first_flatter = blend(grey_of(PIXELS).mean(), PIXELS, 0.5)
    other = changed(Drawn([1, 0, 2], factors))
    assert np.abs(other - blend(0, first_flatter, 1.9)).max() < 3
    assert np.abs(other - expected).max() > 50


@pytest.mark.parametrize("turn", [0.1, -0.1, 0.5, -0.5, 0.004])
def test_hue_turns_in_256_steps_and_value_stays(turn):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 1, 3), np.uint8)
    pixels[0], pixels[1], pixels[2] = (255, 0, 0), (7, 7, 7), (0, 0, 0)
    found = np.array(turn_hue(Image.fromarray(pixels), turn)).reshape(-1, 3)
    for pixel, after in zip(pixels.reshape(-1, 3), found.tolist(), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255))
        expected = colorsys.hsv_to_rgb((hue + int(turn * 255) / 256) % 1, saturation, value)
        # a step of the hue is six levels of a saturated pixel, and Pillow cuts hues off
        np.testing.assert_allclose(after, np.array(expected) * 255, atol=13)
        assert max(after) == pixel.max()


def test_hue_is_one_of_the_changes_in_random_order():
    red = [(200, 0, 0)] * 2
    before = changed(Drawn([3, 2, 0, 1], (0, 0, -0.9), 1 / 3), hue=0.5, pixels=red)
    after = changed(Drawn([2, 3, 0, 1], (0, 0, -0.9), 1 / 3), hue=0.5, pixels=red)
    assert before.max() > 110 and after.max() < 90  # green is lighter than red


def test_what_is_drawn(monkeypatch):
    seen = []

    def record(name, value, picture):
        seen.append((name, value))
        return picture

    monkeypatch.setattr(colours, "_enhance", lambda kind, factor, p: record(kind, factor, p))
    monkeypatch.setattr(colours, "turn_hue", lambda p, turn: record("hue", turn, p))
    image, rng = torch.full((3, 2, 2), 9, dtype=torch.uint8), np.random.default_rng(0)
    for _ in range(300):
        jitter(image, 0.3, 0.1, rng)
    names = [name for name, _ in seen]
    orders = {tuple(names[i : i + 4]) for i in range(0, len(names), 4)}
    assert len(orders) == 24 and all(len(set(order)) == 4 for order in orders)
    ranges = dict.fromkeys(names, (0.7, 1.3)) | {"hue": (-0.1, 0.1)}
    for name, limits in ranges.items():
        values = [value for other, value in seen if other == name]
        counts, _ = np.histogram(values, 3, limits)
        assert counts.sum() == 300 and counts.min() > 75, "drawn evenly from the range"


def test_nothing_drawn_changes_nothing():
    image = torch.rand(3, 4, 4) * 255
    assert jitter(image, 0.0, 0.0, np.random.default_rng(0)) is image
    fractions = torch.full((3, 2, 2), 99.6)
    assert (jitter(fractions, 1e-9, 0.0, np.random.default_rng(0)) - 100).abs().max() <= 1
