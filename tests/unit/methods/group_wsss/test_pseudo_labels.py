"""Saliency-guided pseudo labels, by hand."""

import numpy as np
import pytest

from seedbed.methods.group_wsss import pseudo_labels

PUBLISHED = {
    "conflict_threshold": 0.9,
    "attention_threshold": 0.8,
    "saliency_threshold": 32,
    "minimum_foreground": 0.01,
}


def saliency_guided(attention, saliency, **thresholds):
    return pseudo_labels.saliency_guided(attention, saliency, **PUBLISHED | thresholds)


def row(*values, dtype=float):
    return np.array([values], dtype)


def test_every_rule_on_one_row():
    # Pixels: foreground, background, conflict with background, conflict of classes, salient
    # background, background just not salient, background with strong attention, tie.
    first = row(1.0, 0.0, 0.95, 0.95, 0.1, 0.1, 0.85, 0.8)
    second = row(0.0, 0.0, 0.0, 1.0, 0.2, 0.2, 0.0, 0.8)
    saliency = row(255, 0, 0, 255, 32, 31, 26, 51, dtype=np.uint8)
    mask = saliency_guided({7: first, 3: second}, saliency)
    assert mask.dtype == np.uint8
    # The tie 0.8 = 0.8 = 1 - 51/255 goes to background, whose saliency then makes it void.
    assert mask.tolist() == [[7, 0, 255, 255, 255, 0, 255, 255]]


def levels(*values):
    return row(*values, dtype=np.uint8)


def test_scores_that_are_equal_as_float32_are_background():
    """219 / 255 against 1 − 36 / 255: a tie, so background, and so much attention makes it void.

    One level more, and the class wins.
    """
    attention, saliency = levels(0, 219, 220, 255), levels(0, 36, 36, 255)
    assert saliency_guided({1: attention}, saliency).tolist() == [[0, 255, 1, 1]]
    lax = {"saliency_threshold": 256, "attention_threshold": 1.0}
    assert saliency_guided({1: attention}, saliency, **lax).tolist() == [[0, 0, 1, 1]]


def test_labels_of_all_levels_are_those_of_the_originals_arithmetic():
    """Attention x against saliency 255 − x, and one level beside: number by number."""
    pairs = [(x, 255 - x + d) for x in range(1, 255) for d in (-1, 0, 1)]
    attention, saliency = (
        levels(0, 255, *(x for x, _ in pairs)),
        levels(0, 255, *(s for _, s in pairs)),
    )
    options = {"saliency_threshold": 256, "attention_threshold": 1.0, "conflict_threshold": 1.0}
    found = saliency_guided({1: attention}, saliency, **options)[0, 2:]
    one = np.float32(1)
    wins = [np.float32(x / (255 + 1e-8)) > one - np.float32(s) / np.float32(255) for x, s in pairs]
    assert found.tolist() == [int(win) for win in wins]
    # In exact arithmetic none of the 254 ties is the class's; rounding in float32 gives it many.
    assert 0 < sum(win for win, (x, s) in zip(wins, pairs, strict=True) if x + s == 255) < 254


def test_attention_is_compared_with_its_threshold_in_float64():
    """204 / 255 is not above 0.8, although it is as float32; 205 / 255 is."""
    attention, saliency = levels(0, 204, 205, 255), levels(0, 0, 0, 255)
    assert saliency_guided({1: attention}, saliency).tolist() == [[0, 0, 255, 1]]


@pytest.mark.parametrize(("threshold", "maximum", "tie"), [(0.9, 250, 225), (0.8, 255, 204)])
def test_scores_are_compared_with_the_conflict_threshold_in_float32(threshold, maximum, tie):
    """225 of 0..250 is 0.9 and not above; 226 is, and in conflict with the other class."""
    first, second = levels(0, tie, tie + 1, maximum), levels(0, 255, 255, 0)
    saliency = levels(0, 255, 255, 255)
    found = saliency_guided({1: first, 2: second}, saliency, conflict_threshold=threshold)
    assert found.tolist() == [[0, 2, 255, 1]]


def test_a_range_near_the_originals_constant_is_not_stretched():
    """(a − min) / (1e-8 + 1e-8) is 0.5, less than background's 0.6."""
    maps, saliency = row(0.0, 1e-8), levels(0, 102)
    assert saliency_guided(
        {1: maps}, saliency, saliency_threshold=256, minimum_foreground=0
    ).tolist() == [[0, 0]]


def test_ties_go_to_the_lowest_id():
    saliency = row(255, 255, 0, dtype=np.uint8)
    maps = {9: row(0.5, 1.0, 0.0), 4: row(0.5, 1.0, 0.0)}
    assert saliency_guided(maps, saliency, conflict_threshold=1.0).tolist() == [[4, 4, 0]]


def test_maps_are_scaled_separately():
    maps = {1: row(10.0, 20.0, 30.0), 2: row(-0.5, 0.0, -1.0)}
    saliency = row(255, 255, 255, dtype=np.uint8)
    # Scaled: (0, 0.5, 1) and (0.5, 1, 0).
    assert saliency_guided(maps, saliency).tolist() == [[2, 2, 1]]


def test_constant_map_counts_as_zero():
    saliency = row(128, 0, dtype=np.uint8)
    assert (saliency_guided({1: row(5.0, 5.0)}, saliency, minimum_foreground=0) != 1).all()


def test_thresholds_are_strict_for_attention_and_inclusive_for_saliency():
    saliency = row(0, 0, 0, 51, dtype=np.uint8)
    attention = {1: row(0.9, 0.8, 0.0, 1.0)}
    options = {"minimum_foreground": 0}
    assert saliency_guided(attention, saliency, **options).tolist() == [[255, 0, 0, 1]]
    lower = {**options, "conflict_threshold": 0.7, "attention_threshold": 0.7}
    assert saliency_guided(attention, saliency, **lower).tolist() == [[255, 255, 0, 255]]
    lax = {**options, "saliency_threshold": 256, "attention_threshold": 1.0}
    assert saliency_guided(attention, saliency, **lax).tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize(("foreground", "kept"), [(1, True), (0, False)])
def test_less_than_one_percent_foreground_is_all_void(foreground, kept):
    attention, saliency = np.zeros((10, 10)), np.zeros((10, 10), np.uint8)
    attention.flat[: foreground + 1] = 1
    saliency.flat[:foreground] = 255
    mask = saliency_guided({1: attention}, saliency)
    assert (mask == 1).sum() == foreground
    assert (mask == 0).any() == kept and (mask == 255).all() == (not kept)


def test_image_without_classes():
    assert (saliency_guided({}, np.zeros((2, 3), np.uint8)) == 255).all()
    labelled = saliency_guided({}, row(0, 40, dtype=np.uint8), minimum_foreground=0)
    assert labelled.tolist() == [[0, 255]]


def test_inputs_are_not_modified():
    attention, saliency = row(2.0, 4.0), row(255, 0, dtype=np.uint8)
    saliency_guided({1: attention}, saliency)
    assert attention.tolist() == [[2.0, 4.0]] and saliency.tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("attention", "saliency", "message"),
    [
        ({0: row(1.0)}, row(1, dtype=np.uint8), "class ids"),
        ({255: row(1.0)}, row(1, dtype=np.uint8), "class ids"),
        ({1: row(1.0, 2.0)}, row(1, dtype=np.uint8), "map of class 1"),
        ({1: row(1.0)}, row(1.0), "saliency"),
    ],
)
def test_bad_arguments_are_refused(attention, saliency, message):
    with pytest.raises(ValueError, match=message):
        saliency_guided(attention, saliency)
