"""The confusion matrix and every published mean of it, by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedbed.evaluation.metrics import VARIANTS, ConfusionMatrix, background_curve
from seedbed.methods.psa.pseudo_labels import argmax_labels


def scored(num_classes, truth, prediction):
    matrix = ConfusionMatrix(num_classes)
    matrix.update(np.array(truth), np.array(prediction))
    return matrix


@pytest.fixture
def oracle():
    """Class 1 is missed twice: once as background, once as void; void truth is left out."""
    return scored(2, [0, 0, 1, 1, 255], [0, 0, 0, 255, 1])


def test_counts(oracle):
    assert oracle.counts.dtype == np.int64
    assert oracle.counts.tolist() == [[2, 0, 0], [1, 0, 1]]


def test_figures_of_a_class(oracle):
    np.testing.assert_allclose(oracle.iou(), [2 / 3, 0])
    np.testing.assert_allclose(oracle.precision(), [2 / 3, np.nan])
    np.testing.assert_allclose(oracle.recall(), [1, 0])
    assert oracle.coverage() == 3 / 4


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("voc", 1 / 3), ("dsrg", 2 / 3), ("psa", 1 / 3), ("seam", 1 / 3), ("tf", 1 / 3.001)],
)
def test_means_with_a_class_never_hit(oracle, variant, expected):
    assert oracle.miou(variant) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("voc", 0.5), ("dsrg", 0.5), ("psa", 0.5), ("seam", 0.25), ("tf", 0.5 / 2.001)],
)
def test_means_with_void_predicted_and_a_class_nowhere(variant, expected):
    matrix = scored(2, [1, 1], [1, 255])
    assert matrix.miou(variant) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(matrix.iou(), [np.nan, 0.5])


def test_void_predicted_is_a_miss_unless_it_is_left_out():
    matrix = scored(1, [0, 0], [0, 255])
    assert matrix.miou("seam") == pytest.approx(0.5)
    assert matrix.miou("psa") == pytest.approx(1.0)
    assert matrix.labelled().counts.tolist() == [[1, 0]]
    assert matrix.labelled().miou() == 1.0 and matrix.miou() == 0.5


def test_class_predicted_but_absent_from_the_truth():
    matrix = scored(3, [0, 0, 1, 1], [0, 2, 1, 1])
    np.testing.assert_allclose(matrix.iou(), [0.5, 1, 0])
    assert matrix.miou("voc") == pytest.approx(0.5)
    assert matrix.miou("dsrg") == pytest.approx(0.75)
    np.testing.assert_allclose(matrix.recall(), [0.5, 1, np.nan])


def test_nothing_counted_is_nan_or_zero():
    empty = ConfusionMatrix(2)
    assert np.isnan([empty.miou("voc"), empty.miou("dsrg"), empty.coverage()]).all()
    assert empty.miou("psa") == 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_agrees_with_sets_of_pixels(seed, classes):
    rng = np.random.default_rng(seed)
    values = np.array([*range(classes), 255], np.uint8)
    truth, prediction = rng.choice(values, (2, 5, 7))
    matrix = scored(classes, truth, prediction)
    for c, iou in enumerate(matrix.iou()):
        valid = truth != 255
        ours, theirs = (truth == c), (prediction == c) & valid
        union = (ours | theirs).sum()
        assert np.isnan(iou) if union == 0 else iou == (ours & theirs).sum() / union
    assert matrix.counts.sum() == (truth != 255).sum()


def test_parts_add_up_to_the_whole():
    truth, prediction = np.random.default_rng(0).integers(0, 3, (2, 4, 8))
    whole = scored(3, truth, prediction)
    left, right = (scored(3, truth[:, s], prediction[:, s]) for s in (slice(3), slice(3, None)))
    assert ((left + right).counts == whole.counts).all() and left.counts.sum() == 12
    left.merge(right)
    assert (left.counts == whole.counts).all()


def test_counts_do_not_overflow():
    matrix = ConfusionMatrix(1)
    matrix.counts[0, 0] = 2**40
    matrix.update(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8))
    assert matrix.counts[0, 0] == 2**40 + 4


@pytest.mark.parametrize(
    ("truth", "prediction", "name"),
    [
        ([2], [0], "truth"),
        ([0], [254], "prediction"),
        ([255], [2], "prediction"),
        ([-1], [0], "truth"),
        ([0], [256], "prediction"),
        ([0.0], [0], "truth"),
        ([0, 0], [0], "prediction"),
    ],
)
def test_bad_masks_are_refused_and_not_counted(truth, prediction, name):
    matrix = ConfusionMatrix(2)
    with pytest.raises(ValueError, match=name):
        matrix.update(np.array(truth), np.array(prediction))
    assert not matrix.counts.any()


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="variant"):
        ConfusionMatrix(2).miou("coco")
    with pytest.raises(ValueError, match="other"):
        ConfusionMatrix(2).merge(ConfusionMatrix(3))
    with pytest.raises(ValueError, match="num_classes"):
        ConfusionMatrix(0)


def test_all_variants_agree_where_nothing_is_odd():
    truth = np.arange(255, dtype=np.uint8)
    matrix = scored(255, truth, truth)
    figures = [matrix.miou(variant) for variant in VARIANTS]
    assert figures == pytest.approx([1] * len(VARIANTS), abs=2e-3)


def test_dice(oracle):
    np.testing.assert_allclose(oracle.dice(), [4 / 5, 0])
    matrix = scored(3, [0, 0, 1, 1], [0, 1, 1, 255])
    np.testing.assert_allclose(matrix.dice(), [2 / 3, 2 / 4, np.nan])
    iou = matrix.iou()
    np.testing.assert_allclose(matrix.dice(), 2 * iou / (1 + iou))


def test_classes_weighted_by_their_share_of_the_truth():
    matrix = scored(4, [0, 0, 0, 1], [0, 0, 2, 1])
    assert matrix.frequency_weighted_iou() == pytest.approx(3 / 4 * 2 / 3 + 1 / 4)
    assert scored(2, [1, 1], [1, 255]).frequency_weighted_iou() == 0.5
    assert np.isnan(ConfusionMatrix(2).frequency_weighted_iou())


def test_errors_over_the_foreground_by_hand():
    # Class 1: 4 true, 3 predicted, 2 hits, union 5. Class 2: 2 true, 3 predicted, 2 hits, union 3.
    matrix = scored(3, [0, 0, 1, 1, 1, 1, 2, 2, 255], [0, 1, 1, 1, 0, 2, 2, 2, 1])
    expected = {
        "t_tp": (2 + 1) / 2,
        "p_tp": (3 / 2 + 3 / 2) / 2,
        "fp_all": (1 / 5 + 1 / 3) / 2,
        "fn_all": (2 / 5 + 0) / 2,
        "miou_foreground": (2 / 5 + 2 / 3) / 2,
    }
    found = matrix.foreground_errors()
    assert found == pytest.approx(expected)
    assert found["fp_all"] + found["fn_all"] + found["miou_foreground"] == pytest.approx(1)


def test_errors_with_void_predicted_and_with_a_class_never_hit():
    matrix = scored(2, [0, 1, 1, 1], [0, 1, 255, 255])
    assert matrix.foreground_errors()["t_tp"] == pytest.approx(3)
    assert matrix.foreground_errors()["fn_all"] == pytest.approx(2 / 3)
    assert matrix.labelled().foreground_errors()["fn_all"] == pytest.approx(0)
    missed = scored(3, [0, 1, 1, 2], [0, 0, 0, 2]).foreground_errors()
    assert missed["t_tp"] == pytest.approx((2e10 + 1) / 2)
    assert missed["p_tp"] == pytest.approx(1 / 2)
    nowhere = scored(3, [0, 1], [0, 1]).foreground_errors()
    assert nowhere == pytest.approx(
        {"t_tp": 0.5, "p_tp": 0.5, "fp_all": 0, "fn_all": 0, "miou_foreground": 0.5}
    )
    assert np.isnan(scored(1, [0], [0]).foreground_errors()["t_tp"])


def curve_by_masks(images, num_classes, variant):
    """Label and count every image anew at each threshold."""
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
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
)
@settings(max_examples=30, deadline=None)
def test_curve_is_the_mean_iou_of_each_thresholds_masks(seed, variant, dtype):
    rng = np.random.default_rng(seed)
    images = []
    for _ in range(3):
        # Half of the scores are twentieths: many tie with a threshold or with each other.
        smooth, coarse = rng.random((4, 5, 6)), rng.integers(0, 12, (4, 5, 6)) * 5 / 100
        scores = np.where(rng.random(smooth.shape) < 0.5, smooth, coarse).astype(dtype)
        present = rng.choice(np.arange(1, 5), rng.integers(1, 4), replace=False)
        truth = rng.choice(np.array([0, 0, 1, 2, 4, 255], np.uint8), (5, 6))
        images.append(({int(c): scores[c - 1] for c in present}, truth))
    thresholds, curve = background_curve(iter(images), 5, variant)
    assert thresholds.tolist() == [hundredth / 100 for hundredth in range(60)]
    np.testing.assert_array_equal(curve, curve_by_masks(images, 5, variant))


def test_curve_by_hand():
    # Truth 1, 0, void: right from 0.25, where the second pixel falls to background, below 0.5.
    maps = {1: np.array([[0.5, 0.25, 0.9]]), 2: np.array([[0.25, 0.0, 0.9]])}
    thresholds, curve = background_curve([(maps, np.array([[1, 0, 255]]))], 3)
    steps = np.flatnonzero(np.diff(curve)) + 1
    assert thresholds[steps].tolist() == [0.25, 0.5]
    np.testing.assert_allclose(curve[[0, 24, 25, 49, 50, 59]], [1 / 4] * 2 + [1] * 2 + [1 / 4] * 2)
    seam = background_curve([(maps, np.array([[1, 0, 255]]))], 3, "seam")[1]
    assert seam[30] == pytest.approx(2 / 3)


def test_curve_over_nothing_is_nan():
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
def test_curve_refuses_what_it_cannot_count(maps, truth, name):
    image = {c: np.array(each) for c, each in maps.items()}, np.array(truth)
    with pytest.raises(ValueError, match=name):
        background_curve([image], 3)
