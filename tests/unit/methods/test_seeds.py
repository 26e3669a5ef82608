"""Localisation cues of an image, by hand on small grids."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from seedbed.methods.seeds import make_cues

# SEC's and DSRG's values.
PUBLISHED = {
    "foreground_fraction": 0.2,
    "background_threshold": 0.06,
    "conflict": "fg_over_bg",
    "foreground_saliency": 0.0,
}
RULES = ["fg_over_bg", "bg_over_fg", "smaller_wins", "ignore", "multi_hot"]

# Of 9 cells: background claims the first two rows, class 3 the left column and the middle,
# class 5 the middle cell alone.
SALIENCY = np.array([[0.0, 0.0, 0.0], [0.0, 0.01, 0.0], [1.0, 1.0, 1.0]])
CAMS = np.array([[[9, 0, 0], [8, 5, 0], [7, 0, 0]], [[0, 0, 0], [0, 2, 0], [0, 0, 0]]], float)


def drawn(cues):
    """One string per row: the classes of each cell, a dot for none."""
    rows = cues.transpose(1, 2, 0)
    named = [["".join(map(str, np.flatnonzero(cell))) or "." for cell in row] for row in rows]
    return [" ".join(row) for row in named]


def make(conflict="fg_over_bg", cams=CAMS, saliency=SALIENCY, labels=(3, 5), **options):
    options = {"num_classes": 6, "grid": 3, **PUBLISHED, "conflict": conflict, **options}
    return make_cues(cams, saliency, labels, **options)


@pytest.mark.parametrize(
    ("conflict", "expected"),
    [
        ("fg_over_bg", ["3 0 0", "3 5 0", "3 . ."]),
        ("smaller_wins", ["3 0 0", "3 5 0", "3 . ."]),
        ("multi_hot", ["03 0 0", "03 035 0", "3 . ."]),
    ],
)
def test_conflict_rules(conflict, expected):
    assert drawn(make(conflict)) == expected


@pytest.mark.parametrize("conflict", ["bg_over_fg", "ignore"])
def test_every_class_keeps_a_cell_whatever_the_rule(conflict):
    corner = "0" if conflict == "bg_over_fg" else "."
    assert drawn(make(conflict)) == [f"{corner} 0 0", f"{corner} 5 0", "3 . ."]


def test_owner_of_a_cell_claimed_by_small_background():
    cams, saliency = np.ones((1, 3, 3)), np.ones((3, 3))
    cams[0, 0, 0] = saliency[0, 0] = saliency[1, 1] = 0
    middle = {rule: make(rule, cams, saliency, [2])[:, 1, 1] for rule in RULES}
    owners = {rule: np.flatnonzero(cell).tolist() for rule, cell in middle.items()}
    assert owners == {
        "fg_over_bg": [2],
        "bg_over_fg": [0],
        "smaller_wins": [0],
        "ignore": [],
        "multi_hot": [0, 2],
    }


def test_foreground_fraction_is_strict():
    cams = np.array([[[10.0, 2.0, 2.1]]])
    image = {"cams": cams, "saliency": np.ones((1, 3)), "labels": [1]}
    found = {f: make(**image, foreground_fraction=f)[1] for f in (0.2, 0.205, 0.5)}
    assert found[0.2].tolist() == [[True, False, True]] * 3
    assert not found[0.205][:, 1].any() and found[0.205][:, 2].all()
    assert not found[0.5][:, 1:].any()


@pytest.mark.parametrize(
    ("fraction", "maximum", "tie"), [(0.2, 255, 51), (0.6, 255, 153), (0.29, 100, 29)]
)
def test_levels_are_compared_with_their_fraction_of_the_maximum_exactly(fraction, maximum, tie):
    cams = np.uint8([[[maximum, tie, tie + 1], [tie, tie, tie], [0, 0, 0]]])
    cues = make(cams=cams, saliency=SALIENCY[::-1] > 0, labels=[1], foreground_fraction=fraction)
    assert drawn(cues)[0] == "1 . 1" and not cues[1, 1:].any()


def test_saliency_levels_are_compared_exactly():
    cams, saliency = np.ones((1, 3, 3)), np.uint8([[50, 51, 52], [152, 153, 154], [0, 255, 255]])
    cams[0, 0, 0] = 0
    options = {"background_threshold": 0.2, "foreground_saliency": 0.6}
    cues = make(cams=cams, saliency=saliency, labels=[1], **options)
    assert drawn(cues) == ["0 . .", ". 1 1", "0 1 1"]


@pytest.mark.parametrize("size", [(7, 9), (30, 50), (375, 500)])
def test_interpolation_breaks_no_ties(size):
    """A map at 0.2 of its maximum, and a saliency of 0.2: equal, so no cue, on the whole grid."""
    cams = np.full((1, *size), 51, np.uint8)
    cams[0, 0, 0] = 255
    saliency = np.full(size, 51, np.uint8)
    image = {"cams": cams, "saliency": saliency, "labels": [1], "grid": 41}
    cues = make(**image, background_threshold=0.2, conflict="multi_hot")
    assert not cues[0].any()
    assert not cues[1, 10:].any() and not cues[1, :, 10:].any()
    salient = make(**image, foreground_fraction=0.0, foreground_saliency=0.2)
    assert salient[1].all()


def test_background_threshold_is_strict():
    saliency = np.array([[0.25, 0.24, 0.26]] * 3)
    cues = make(saliency=saliency, cams=CAMS[:0], labels=[], background_threshold=0.25)
    assert drawn(cues) == [". 0 ."] * 3


def test_foreground_saliency():
    cues = make(foreground_saliency=0.5)
    # Class 5 is nowhere salient: it keeps its best cell.
    assert drawn(cues) == ["0 0 0", "0 5 0", "3 . ."]


def test_without_any_cue_the_best_cells_are_taken():
    saliency = np.array([[0.9, 0.8, 0.9]] * 2 + [[0.9, 0.9, 0.7]])
    cams = -1 - np.arange(9.0).reshape(1, 3, 3)
    assert drawn(make(cams=cams, saliency=saliency, labels=[4])) == ["4 . .", ". . .", ". . 0"]


@pytest.mark.parametrize("rule", RULES)
def test_two_classes_with_the_same_best_cell_both_get_one(rule):
    cams = np.zeros((2, 3, 3))
    cams[:, 1, 1] = 1
    cues = make(rule, cams=cams, saliency=SALIENCY, labels=[1, 2])
    assert cues[[0, 1, 2]].any((1, 2)).all()
    assert (cues.sum(0) <= 1).all() or rule == "multi_hot"


@pytest.mark.parametrize("rule", RULES)
def test_a_map_that_is_the_same_everywhere_gives_no_cell(rule):
    """A classifier that finds no cell of a class leaves a CAM of zeros, or the same in each."""
    for level in (0, 0.7, -1):
        cams = np.stack([np.full((4, 5), level), np.pad([[2.0]], ((1, 2), (2, 2)))])
        cues = make(rule, cams=cams, saliency=np.ones((3, 3)), labels=[3, 5], grid=7)
        assert set(np.flatnonzero(cues.any((1, 2)))) == {5}, level


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), rule=st.sampled_from(RULES), count=st.integers(0, 4))
def test_exactly_the_classes_of_the_image_have_cells(seed, rule, count):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(1, 8))[:count]
    cams = rng.normal(size=(count, 6, 9)).round(1)
    saliency = rng.random((12, 7)) ** 2
    cues = make(rule, cams, saliency, labels.tolist(), num_classes=8, grid=5)
    assert cues.dtype == bool and cues.shape == (8, 5, 5)
    assert set(np.flatnonzero(cues.any((1, 2)))) == {0, *labels}
    assert rule == "multi_hot" or cues.sum(0).max() <= 1


def test_maps_are_resampled_corner_aligned():
    rng = np.random.default_rng(5)
    cams, saliency = rng.random((1, 30, 50)), rng.random((20, 70))
    image = {"cams": cams, "saliency": saliency, "labels": [1]}
    cues = make("multi_hot", **image, grid=7, foreground_fraction=0.5, background_threshold=0.4)
    zoomed = ndimage.zoom(cams[0], (7 / 30, 7 / 50), order=1, mode="nearest")
    np.testing.assert_array_equal(cues[1], zoomed > 0.5 * zoomed.max())
    zoomed = ndimage.zoom(saliency, (7 / 20, 7 / 70), order=1, mode="nearest")
    np.testing.assert_array_equal(cues[0], zoomed < 0.4)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"labels": [3]}, "cams"),
        ({"labels": [0, 3]}, "labels"),
        ({"labels": [3, 6]}, "labels"),
        ({"labels": [3, 3]}, "labels"),
        ({"saliency": 255 * SALIENCY}, "saliency"),
        ({"conflict": "mine"}, "conflict"),
    ],
)
def test_bad_arguments_are_refused(options, name):
    with pytest.raises(ValueError, match=name):
        make(**options)
