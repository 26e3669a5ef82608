"""The confusion matrix and every published mean IoU, computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedbed.evaluation.metrics import VARIANTS, ConfusionMatrix, confusion_matrix


def scored(num_classes, truth, prediction):
    return confusion_matrix(np.array(truth), np.array(prediction), num_classes)


@pytest.fixture
def oracle():
    """Class 1 is missed twice, as background and as void; the last pixel has no truth."""
    return scored(2, [0, 0, 1, 1, 255], [0, 0, 0, 255, 1])


def test_counts(oracle):
    assert oracle.counts.dtype == np.int64
    assert oracle.counts.tolist() == [[2, 0, 0], [1, 0, 1]]


def test_iou_precision_recall_and_coverage(oracle):
    np.testing.assert_allclose(oracle.iou(), [2 / 3, 0])
    np.testing.assert_allclose(oracle.precision(), [2 / 3, np.nan])
    np.testing.assert_allclose(oracle.recall(), [1, 0])
    assert oracle.coverage() == 3 / 4


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("voc", 1 / 3), ("dsrg", 2 / 3), ("psa", 1 / 3), ("seam", 1 / 3), ("tf", 1 / 3.001)],
)
def test_miou_variants_with_a_class_without_true_positives(oracle, variant, expected):
    assert oracle.miou(variant) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("voc", 0.5), ("dsrg", 0.5), ("psa", 0.5), ("seam", 0.25), ("tf", 0.5 / 2.001)],
)
def test_miou_variants_with_predicted_void_and_an_absent_class(variant, expected):
    matrix = scored(2, [1, 1], [1, 255])
    assert matrix.miou(variant) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(matrix.iou(), [np.nan, 0.5])


def test_predicted_void_is_a_miss_unless_it_is_left_out():
    matrix = scored(1, [0, 0], [0, 255])
    assert matrix.miou("seam") == pytest.approx(0.5)
    assert matrix.miou("psa") == pytest.approx(1.0)
    assert matrix.without_void().counts.tolist() == [[1, 0]]
    assert matrix.without_void().miou() == 1.0 and matrix.miou() == 0.5


def test_class_that_is_predicted_but_absent_from_the_truth():
    matrix = scored(3, [0, 0, 1, 1], [0, 2, 1, 1])
    np.testing.assert_allclose(matrix.iou(), [0.5, 1, 0])
    assert matrix.miou("voc") == pytest.approx(0.5)
    assert matrix.miou("dsrg") == pytest.approx(0.75)
    np.testing.assert_allclose(matrix.recall(), [0.5, 1, np.nan])


def test_an_empty_matrix_gives_nan_or_zero():
    empty = ConfusionMatrix(2)
    assert np.isnan([empty.miou("voc"), empty.miou("dsrg"), empty.coverage()]).all()
    assert empty.miou("psa") == 0


@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_iou_equals_that_of_pixel_sets(seed, classes):
    rng = np.random.default_rng(seed)
    values = np.array([*range(classes), 255], np.uint8)
    truth, prediction = rng.choice(values, (2, 5, 7))
    matrix = scored(classes, truth, prediction)
    for c, iou in enumerate(matrix.iou()):
        valid = truth != 255
        true, predicted = (truth == c), (prediction == c) & valid
        union = (true | predicted).sum()
        assert np.isnan(iou) if union == 0 else iou == (true & predicted).sum() / union
    assert matrix.counts.sum() == (truth != 255).sum()


def test_matrices_of_parts_add_up():
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
def test_invalid_masks_are_refused_and_not_counted(truth, prediction, name):
    matrix = ConfusionMatrix(2)
    with pytest.raises(ValueError, match=name):
        matrix.update(np.array(truth), np.array(prediction))
    assert not matrix.counts.any()


def test_invalid_arguments_are_named():
    with pytest.raises(ValueError, match="variant"):
        ConfusionMatrix(2).miou("coco")
    with pytest.raises(ValueError, match="other"):
        ConfusionMatrix(2).merge(ConfusionMatrix(3))
    with pytest.raises(ValueError, match="num_classes"):
        ConfusionMatrix(0)


def test_all_variants_agree_on_a_perfect_prediction():
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


def test_frequency_weighted_iou():
    matrix = scored(4, [0, 0, 0, 1], [0, 0, 2, 1])
    assert matrix.frequency_weighted_iou() == pytest.approx(3 / 4 * 2 / 3 + 1 / 4)
    assert scored(2, [1, 1], [1, 255]).frequency_weighted_iou() == 0.5
    assert np.isnan(ConfusionMatrix(2).frequency_weighted_iou())


def test_foreground_errors_by_hand():
    # Class 1: T 4, P 3, TP 2, union 5. Class 2: T 2, P 3, TP 2, union 3.
    matrix = scored(3, [0, 0, 1, 1, 1, 1, 2, 2, 255], [0, 1, 1, 1, 0, 2, 2, 2, 1])
    expected = {
        "t_tp": (2 + 1) / 2,
        "p_tp": (3 / 2 + 3 / 2) / 2,
        "fp_all": (1 / 5 + 1 / 3) / 2,
        "fn_all": (2 / 5 + 0) / 2,
        "miou_foreground": (2 / 5 + 2 / 3) / 2,
    }
    errors = matrix.foreground_errors()
    assert errors == pytest.approx(expected)
    assert errors["fp_all"] + errors["fn_all"] + errors["miou_foreground"] == pytest.approx(1)


def test_foreground_errors_with_predicted_void_and_without_true_positives():
    matrix = scored(2, [0, 1, 1, 1], [0, 1, 255, 255])
    assert matrix.foreground_errors()["t_tp"] == pytest.approx(3)
    assert matrix.foreground_errors()["fn_all"] == pytest.approx(2 / 3)
    assert matrix.without_void().foreground_errors()["fn_all"] == pytest.approx(0)
    missed = scored(3, [0, 1, 1, 2], [0, 0, 0, 2]).foreground_errors()
    assert missed["t_tp"] == pytest.approx((2e10 + 1) / 2)
    assert missed["p_tp"] == pytest.approx(1 / 2)
    absent = scored(3, [0, 1], [0, 1]).foreground_errors()
    assert absent == pytest.approx(
        {"t_tp": 0.5, "p_tp": 0.5, "fp_all": 0, "fn_all": 0, "miou_foreground": 0.5}
    )
    assert np.isnan(scored(1, [0], [0]).foreground_errors()["t_tp"])
