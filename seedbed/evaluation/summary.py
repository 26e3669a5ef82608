"""All figures of a confusion matrix: for metrics.json, and as the text of miou.txt."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seedbed.evaluation.metrics import VARIANTS, ConfusionMatrix

# How each variant of mIoU differs from the others, as miou.txt says it.
VARIANT_NOTES = {
    "voc": "over the classes in truth or masks; void in a mask is a miss",
    "dsrg": "over the classes hit at least once",
    "psa": "void in a mask is not scored; a class nowhere counts 0",
    "seam": "void in a mask is a miss; a class nowhere counts 0",
    "tf": "as seam, with 0.001 added to each union",
}
ERROR_NOTES = {
    "t_tp": "T÷TP, true pixels by hits",
    "p_tp": "P÷TP, predicted pixels by hits",
    "fp_all": "FP÷ALL, false pixels by union",
    "fn_all": "FN÷ALL, missed pixels by union",
    "miou_foreground": "mIoU without background",
}


def summarise(matrix: ConfusionMatrix, names: Sequence[str], variant: str) -> dict[str, Any]:
    """The content of metrics.json, fractions; None where a figure is undefined.

    `names` are the class names by id; `variant` (see `ConfusionMatrix.miou`) is the one that
    "miou" holds, "variants" has all of them.
    """
    by_class = {
        "iou": matrix.iou(),
        "dice": matrix.dice(),
        "precision": matrix.precision(),
        "recall": matrix.recall(),
    }
    return _nan_to_none(
        {
            "miou": matrix.miou(variant),
            "variants": {name: matrix.miou(name) for name in VARIANTS},
            **{k: dict(zip(names, v.tolist(), strict=True)) for k, v in by_class.items()},
            "frequency_weighted_iou": matrix.frequency_weighted_iou(),
            "foreground": {
                "void_is_a_miss": matrix.foreground_errors(),
                "void_is_not_scored": matrix.without_void().foreground_errors(),
            },
            "confusion": matrix.counts.tolist(),
        }
    )


def _nan_to_none(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Replace NaN, which JSON lacks, in nested dicts."""
    if isinstance(value, dict):
        return {key: _nan_to_none(item) for key, item in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value


def summary_text(figures: dict[str, Any]) -> str:
    """The content of miou.txt.

    `figures` are those of `summarise` with "split", "images" and "variant". mIoU comes first, then
    IoU by class, mIoU by variant, the errors over the foreground, and what was scored.
    """
    lines = [
        f"mIoU {_fixed(figures['miou'])}",
        *_class_lines(figures["iou"]),
        "mIoU as published evaluators compute it; * leads",
        *_variant_lines(figures["variants"], figures["variant"]),
        "means over the classes but background: void in a mask is a miss, or is not scored",
        *_error_lines(*figures["foreground"].values()),
        f"split {figures['split']}, {figures['images']} images; IoU of each class: void in a mask "
        "is a miss, void in the truth is not scored",
    ]
    return "\n".join(lines) + "\n"


def _class_lines(ious: dict[str, float | None]) -> list[str]:
    width = max(map(len, ious))
    return [f"  {name:<{width}}  {_fixed(iou)}" for name, iou in ious.items()]


def _variant_lines(mious: dict[str, float | None], main: str) -> list[str]:
    return [
        f"{'*' if name == main else ' '} {name:<4}  {_fixed(miou)}  {VARIANT_NOTES[name]}"
        for name, miou in mious.items()
    ]


def _error_lines(
    with_void: dict[str, float | None], without_void: dict[str, float | None]
) -> list[str]:
    return [
        f"  {note:<32}  {_fixed(with_void[name]):>9}  {_fixed(without_void[name]):>9}"
        for name, note in ERROR_NOTES.items()
    ]


def _fixed(value: float | None) -> str:
    """Four digits after the point; a dash for None, an exponent for a huge ratio (TP = 0)."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value < 1e4 else f"{value:.2e}"
