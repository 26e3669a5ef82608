"""The figures of metrics.json and the text of miou.txt."""

import json

import numpy as np
import pytest

from seedbed.evaluation.metrics import VARIANTS, ConfusionMatrix, confusion_matrix
from seedbed.evaluation.summary import VARIANT_NOTES, summarise, summary_text

NAMES = ["background", "cat", "person"]


def matrix_of(truth, prediction):
    return confusion_matrix(np.array(truth), np.array(prediction), 3)


@pytest.fixture
def odd():
    """Cat: T 4, P 3, TP 2, one of its pixels predicted as void. No person."""
    return matrix_of([0, 0, 1, 1, 1, 1, 255], [0, 1, 1, 1, 0, 255, 1])


def test_figures_by_hand(odd):
    figures = summarise(odd, NAMES, "psa")
    assert figures["iou"] == pytest.approx({"background": 1 / 3, "cat": 2 / 5, "person": None})
    assert figures["dice"] == pytest.approx({"background": 1 / 2, "cat": 4 / 7, "person": None})
    assert figures["frequency_weighted_iou"] == pytest.approx((2 * 1 / 3 + 4 * 2 / 5) / 6)
    assert figures["variants"] == pytest.approx(
        {
            "voc": (1 / 3 + 2 / 5) / 2,
            "dsrg": (1 / 3 + 2 / 5) / 2,
            "psa": (1 / 3 + 2 / 4) / 3,
            "seam": (1 / 3 + 2 / 5) / 3,
            "tf": (1 / 3.001 + 2 / 5.001) / 3,
        }
    )
    assert figures["miou"] == figures["variants"]["psa"]


def test_foreground_errors_with_void_as_a_miss_and_left_out(odd):
    # Class person has no pixel and counts 0 in every mean over the two classes.
    errors = summarise(odd, NAMES, "voc")["foreground"]
    assert errors["void_is_a_miss"] == pytest.approx(
        {
            "t_tp": 4 / 2 / 2,
            "p_tp": 3 / 2 / 2,
            "fp_all": 1 / 5 / 2,
            "fn_all": 2 / 5 / 2,
            "miou_foreground": 2 / 5 / 2,
        }
    )
    assert errors["void_is_not_scored"] == pytest.approx(
        {
            "t_tp": 3 / 2 / 2,
            "p_tp": 3 / 2 / 2,
            "fp_all": 1 / 4 / 2,
            "fn_all": 1 / 4 / 2,
            "miou_foreground": 2 / 4 / 2,
        }
    )


def test_undefined_figures_are_null():
    figures = summarise(ConfusionMatrix(1), ["background"], "voc")
    assert figures["miou"] is figures["iou"]["background"] is None
    assert figures["frequency_weighted_iou"] is figures["variants"]["dsrg"] is None
    assert set(figures["foreground"]["void_is_a_miss"].values()) == {None}
    json.dumps(figures, allow_nan=False)
    text = summary_text({"split": "val", "images": 1, "variant": "voc", **figures})
    assert text.startswith("mIoU -\n") and "nan" not in text


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_text_marks_the_chosen_variant(odd, variant):
    figures = summarise(odd, NAMES, variant)
    text = summary_text({"split": "val", "images": 3, "variant": variant, **figures})
    lines = text.splitlines()
    assert lines[0] == f"mIoU {figures['variants'][variant]:.4f}"
    for name in VARIANTS:
        mark = "*" if name == variant else " "
        assert f"{mark} {name:<4}  {figures['variants'][name]:.4f}  {VARIANT_NOTES[name]}" in lines


def test_the_text_shows_errors_with_and_without_void(odd):
    text = summary_text(
        {"split": "val", "images": 3, "variant": "voc", **summarise(odd, NAMES, "voc")}
    )
    shown = dict(line.strip().split(", ") for line in text.splitlines() if "÷" in line)
    figures = {name: about.split()[-2:] for name, about in shown.items()}
    assert figures == {
        "T÷TP": ["1.0000", "0.7500"],
        "P÷TP": ["0.7500", "0.7500"],
        "FP÷ALL": ["0.1000", "0.1250"],
        "FN÷ALL": ["0.2000", "0.1250"],
    }


def test_a_huge_ratio_is_written_with_an_exponent():
    missed = summarise(matrix_of([0, 1, 1, 2], [0, 0, 0, 2]), NAMES, "voc")
    assert " 1.00e+10" in summary_text({"split": "val", "images": 1, "variant": "voc", **missed})
