"""Mean IoU of class maps against the background score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedbed.evaluation.background_curve import background_curve
from seedbed.evaluation.metrics import VARIANTS, ConfusionMatrix
from seedbed.formats.levels import quantise
from seedbed.methods.psa.pseudo_labels import argmax_labels


def curve_by_masks(images, num_classes, variant):
    """The curve by its definition: label and score every image at each threshold."""
    points = []
    for hundredth in range(60):
        matrix = ConfusionMatrix(num_classes)
        for maps, truth in images:
            matrix.update(truth, argmax_labels(maps, hundredth / 100))
        points.append(matrix.miou(variant))
    return points


@given(
    seed=st.integers(0, 2**32 - 1),
    variant=st.sampled_from(VARIANTS),
    dtype=st.sampled_from([np.uint8, np.float16, np.float32, np.float64]),
)
@settings(max_examples=30)
def test_curve_is_the_mean_iou_of_the_masks_at_each_threshold(seed, variant, dtype):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(3):
        # Half of the scores are twentieths: many tie with a threshold or with each other.
        smooth, coarse = rng.random((4, 5, 6)), rng.integers(0, 12, (4, 5, 6)) * 5 / 100
        scores = np.where(rng.random(smooth.shape) < 0.5, smooth, coarse)
        scores = quantise(scores) if dtype == np.uint8 else scores.astype(dtype)
        present = rng.choice(np.arange(1, 5), rng.integers(1, 4), replace=False)
        truth = rng.choice(np.array([0, 0, 1, 2, 4, 255], np.uint8), (5, 6))
        images.append(({int(c): scores[c - 1] for c in present}, truth))
    thresholds, curve = background_curve(iter(images), 5, variant)
    assert thresholds.tolist() == [hundredth / 100 for hundredth in range(60)]
    np.testing.assert_array_equal(curve, curve_by_masks(images, 5, variant))


def test_curve_by_hand():
    # Truth 1, 0, void: correct from 0.25, where the second pixel becomes background, to 0.5.
    maps = {1: np.array([[0.5, 0.25, 0.9]]), 2: np.array([[0.25, 0.0, 0.9]])}
    thresholds, curve = background_curve([(maps, np.array([[1, 0, 255]]))], 3)
    steps = np.flatnonzero(np.diff(curve)) + 1
    assert thresholds[steps].tolist() == [0.25, 0.5]
    np.testing.assert_allclose(curve[[0, 24, 25, 49, 50, 59]], [1 / 4] * 2 + [1] * 2 + [1 / 4] * 2)
    seam = background_curve([(maps, np.array([[1, 0, 255]]))], 3, "seam")[1]
    assert seam[30] == pytest.approx(2 / 3)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_maps_that_equal_a_background_score_are_background_at_it(dtype):
    levels = np.uint8([[51, 102]])  # 0.2 and 0.4
    maps = levels if dtype == np.uint8 else levels / np.float32(255)
    thresholds, curve = background_curve([({1: maps}, np.array([[1, 1]]))], 2, "seam")
    assert thresholds[np.flatnonzero(np.diff(curve)) + 1].tolist() == [0.2, 0.4]


def test_curve_without_images_is_nan():
    assert np.isnan(background_curve([], 3)[1]).all()


@pytest.mark.parametrize(
    ("maps", "truth", "name"),
    [
        ({}, [[0, 1]], "maps"),
        ({0: [[0.1, 0.2]]}, [[0, 1]], "maps"),
        ({3: [[0.1, 0.2]]}, [[0, 1]], "maps"),
        ({1: [[0.1, 0.2]]}, [[0], [1]], "truth"),
        ({1: [[0.1, 0.2]]}, [[0, 3]], "truth"),
        ({1: [[0.1, 0.2]]}, [[0, -1]], "truth"),
    ],
)
def test_invalid_maps_and_masks_are_refused(maps, truth, name):
    image = {c: np.array(each) for c, each in maps.items()}, np.array(truth)
    with pytest.raises(ValueError, match=name):
        background_curve([image], 3)
