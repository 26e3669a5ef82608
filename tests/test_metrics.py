"""The confusion matrix and every published mean of it, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedbed.metrics import VARIANTS, ConfusionMatrix


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
