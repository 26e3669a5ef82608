"""Saliency: its steps by hand, the whole on synthetic images and extreme sizes."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from seedbed.methods import saliency as module
from seedbed.methods.saliency import (
    _guided_filter,
    background_contrast,
    background_probability,
    geodesic_distance,
    minimise_cost,
    segment,
)
from seedbed.methods.saliency import saliency as compute_saliency

saliency = partial(compute_saliency, superpixels=200)
GREEN, RED = (60, 130, 70), (190, 60, 40)


def disc(height=96, width=128, radius=22, centre=None, ground=GREEN, noise=6):
    """A red disc on noisy ground, and where it is."""
    row, column = centre or (height / 2, width / 2)
    rows, columns = np.ogrid[:height, :width]
    inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
    picture = np.where(inside[..., None], RED, ground)
    picture = picture + np.random.default_rng(0).normal(0, noise, picture.shape)
    return picture.clip(0, 255).astype(np.uint8), inside


@pytest.mark.parametrize("centre", [(48, 64), (30, 36), (60, 95)])
def test_a_disc_is_salient_at_any_position(centre):
    image, inside = disc(centre=centre)
    found = saliency(image)
    assert found.dtype == np.float32
    assert found.min() == 0 and found.max() == 1
    assert (inside & (found >= 0.5)).sum() > 0.95 * (inside | (found >= 0.5)).sum()
    assert found[~inside].mean() < 0.05


def test_two_backgrounds_are_both_background():
    image, inside = disc(ground=(60, 130, 70), noise=0)
    image[:, :64][~inside[:, :64]] = (
        70,
        90,
        160,
    )
    found = saliency(image)
    assert found[inside].mean() > 0.8
    assert found[~inside].mean() < 0.1


def test_the_map_does_not_depend_on_the_resolution():
    small, inside = disc(96, 128, 22)
    large = np.asarray(Image.fromarray(small).resize((384, 288), Image.Resampling.NEAREST))
    found = saliency(large)[1::3, 1::3]
    assert np.abs(found - saliency(small)).mean() < 0.05
    assert found[inside].mean() > 0.9


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(40, 60), (1, 1), (1, 50), (3, 2)])
def test_a_constant_image_has_no_saliency(shape):
    for colour in [(77, 77, 77), (201, 33, 118), (0, 0, 0)]:
        assert not saliency(np.full((*shape, 3), colour, np.uint8)).any()


@settings(max_examples=60)
@given(
    arrays.arrays(
        np.uint8,
        st.tuples(st.integers(1, 12), st.integers(1, 40), st.just(3)),
        elements=st.sampled_from([0, 1, 127, 254, 255]),
    )
)
def test_any_image_gives_values_in_the_unit_range_deterministically(image):
    found = saliency(image)
    assert found.shape == image.shape[:2]
    assert np.isfinite(found).all()
    assert found.min() >= 0 and found.max() <= 1
    assert found.tobytes() == saliency(image).tobytes()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(image):
    with pytest.raises(ValueError, match="image must be uint8"):
        saliency(image)


def test_regions_of_two_halves():
    image = np.zeros((20, 40, 3), np.uint8)
    image[:, 20:] = 255
    regions = segment(image, 2, 1.0)
    assert (regions.labels[:, :20] == regions.labels[0, 0]).all()
    assert (regions.labels[:, 20:] == regions.labels[0, -1]).all()
    assert np.allclose(regions.lab, [[0, 0, 0], [100, 0, 0]], atol=0.01)
    assert np.allclose(regions.centres, [[0.5, 0.25], [0.5, 0.75]])
    assert regions.border.all()
    assert (regions.adjacent == [[False, True], [True, False]]).all()


def test_border_regions_touch_the_image_edge():
    regions = segment(disc()[0], 60, 20.0)
    edge = {*regions.labels[0], *regions.labels[-1], *regions.labels[:, 0], *regions.labels[:, -1]}
    assert {*np.flatnonzero(regions.border)} == edge
    assert not regions.border.all()


def test_geodesic_distance_by_hand():
    lightness = np.array([0.0, 0, 5, 1])
    colour = np.abs(lightness[:, None] - lightness)
    chain = np.eye(4, k=1, dtype=bool) | np.eye(4, k=-1, dtype=bool)
    inside = geodesic_distance(colour, chain, np.zeros(4, bool))
    assert np.allclose(inside, [[0, 0, 5, 9], [0, 0, 5, 9], [5, 5, 0, 4], [9, 9, 4, 0]])
    round_outside = geodesic_distance(colour, chain, np.array([True, False, False, True]))
    assert np.allclose(round_outside, [[0, 0, 5, 1], [0, 0, 5, 1], [5, 5, 0, 4], [1, 1, 4, 0]])


def test_background_probability_by_hand():
    far = 1e6
    distance = np.array([[0, 0, far], [0, 0, far], [far, far, 0]])  # two alike, one apart
    found = background_probability(distance, np.array([True, False, False]), sigma=10)
    expected = 1 - np.exp(-0.25)  # connectivity 1 / sqrt(2)
    assert np.allclose(found, [expected, expected, 0])


def test_background_contrast_by_hand():
    colour = np.array([[0.0, 8, 20], [8, 0, 5], [20, 5, 0]])
    centres = np.array([[0.0, 0], [0, 0.25], [0, 0.5]])
    found = background_contrast(colour, centres, np.array([1.0, 0, 0]), sigma=0.25)
    assert np.allclose(found, [0, 8 * np.exp(-0.5), 20 * np.exp(-2)])


def test_minimise_cost_by_hand():
    alone = minimise_cost(np.array([1.0, 1.0]), np.array([0.0, 3.0]), np.zeros((2, 2)))
    assert np.allclose(alone, [1, 0.25])
    tied = minimise_cost(np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([[0.0, 1], [1, 0]]))
    assert np.allclose(tied, [2 / 3, 1 / 3])  # (1+1) s0 - s1 = 1, (1+1) s1 - s0 = 0


def test_the_guided_filter_by_windows():
    rng = np.random.default_rng(0)
    image, values = rng.integers(0, 256, (7, 9, 3)).astype(np.uint8), rng.random((7, 9))

    def mean(x):  # of 5 x 5 pixels: a radius of .2 of 9 is 2
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, 2, mode="edge"), (5, 5))
        return windows.mean((2, 3))

    grey = image.mean(2) / 255
    covariance = mean(grey * values) - mean(grey) * mean(values)
    slope = covariance / (mean(grey**2) - mean(grey) ** 2 + 0.01)
    expected = mean(slope) * grey + mean(mean(values) - slope * mean(grey))
    np.testing.assert_allclose(_guided_filter(values, image, 0.2), expected, atol=1e-9)


def test_the_map_is_the_minimum_of_the_cost(monkeypatch):
    """Before the guided filter: contrast, five times background, and 0.1 + likeness as t."""
    monkeypatch.setattr(module, "_guided_filter", lambda values, image, radius: values)
    image, _ = disc(40, 50, 10)
    regions = segment(image, 40, 20.0)
    colour = np.linalg.norm(regions.lab[:, None] - regions.lab, axis=2)
    distance = geodesic_distance(colour, regions.adjacent, regions.border)
    background = background_probability(distance, regions.border, 10.0)
    contrast = background_contrast(colour, regions.centres, background, 0.25)
    contrast = (contrast - contrast.min()) / np.ptp(contrast)
    likeness = np.where(regions.adjacent, 0.1 + np.exp(-((colour / 10) ** 2) / 2), 0)
    values = minimise_cost(contrast, 5 * background, likeness)[regions.labels]
    expected = (values - values.min()) / np.ptp(values)
    np.testing.assert_allclose(compute_saliency(image, superpixels=40), expected, atol=1e-5)
