"""The final figure: masks against the truth."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import matplotlib
import numpy as np

from seedbed.data.index import Index
from seedbed.evaluation.metrics import VARIANTS, ConfusionMatrix
from seedbed.formats.maps import Maps
from seedbed.formats.tables import write_json, write_text
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from stages.command import Workers, run_stage
from stages.settings import EvaluateSettings

matplotlib.use("Agg")
import matplotlib.pyplot as plt

WORTH_TORCH = 3000  # images whose scoring takes longer than to load it
RULES = {
    "voc": "over the classes in truth or masks; void in a mask is a miss",
    "dsrg": "over the classes hit at least once",
    "psa": "void in a mask is not scored; a class nowhere counts 0",
    "seam": "void in a mask is a miss; a class nowhere counts 0",
    "tf": "as seam, with 0.001 added to each union",
}
ERRORS = {
    "t_tp": "T÷TP, true pixels by hits",
    "p_tp": "P÷TP, predicted pixels by hits",
    "fp_all": "FP÷ALL, false pixels by union",
    "fn_all": "FN÷ALL, missed pixels by union",
    "miou_foreground": "mIoU without background",
}


def evaluate(
    *,
    index: Annotated[Path, "dataset/index.json"],
    masks: Annotated[Path, "masks.h5"],
    truth: Annotated[Path, "dataset/masks.h5"],
    report: Annotated[Path, "to write: the figures to read"],
    metrics: Annotated[Path, "to write: the figures for programs"],
    confusion: Annotated[Path, "to write: the confusion matrix as a picture"],
    settings: EvaluateSettings,
    workers: Workers = 1,
) -> None:
    """Score every image of the split that has a true mask."""
    dataset = Index.load(index)
    entries = [entry for entry in dataset.split(settings.split) if entry.has_mask]
    if not entries:
        raise UserError(f"{index}: no image of split {settings.split} has a mask to score against")
    ids, maps = [entry.id for entry in entries], (Maps([masks]), Maps([truth]))
    matrix = confusion_matrix(ids, *maps, dataset.num_classes, workers)
    names = dataset.class_names
    about = {"split": settings.split, "images": len(entries), "variant": settings.variant}
    figures = {**about, **measure(matrix, names, settings.variant)}
    write_json(metrics, figures)
    draw(confusion, matrix.counts, names)
    write_text(report, describe(figures))


def confusion_matrix(
    ids: list[str], found: Maps, truth: Maps, num_classes: int, workers: int
) -> ConfusionMatrix:
    """Pixel counts of all images, many of them counted by worker processes."""
    count = partial(pixel_counts, found=found, truth=truth, num_classes=num_classes)
    if workers > 1 and len(ids) >= WORTH_TORCH:
        from seedbed.runtime.pools import ordered_map

        counted = ordered_map(count, ids, workers)
    else:
        counted = map(count, progress(ids))
    total = ConfusionMatrix(num_classes)
    for matrix in counted:
        total.merge(matrix)
    return total


def pixel_counts(image_id: str, *, found: Maps, truth: Maps, num_classes: int) -> ConfusionMatrix:
    """Pixel counts of one image."""
    matrix = ConfusionMatrix(num_classes)
    matrix.update(truth[image_id], found[image_id])
    return matrix


def measure(matrix: ConfusionMatrix, names: list[str], variant: str) -> dict[str, Any]:
    """Every figure of the matrix; None where it is undefined, as IoU of a class nowhere."""
    by_class = {
        "iou": matrix.iou(),
        "dice": matrix.dice(),
        "precision": matrix.precision(),
        "recall": matrix.recall(),
    }
    return _without_nan(
        {
            "miou": matrix.miou(variant),
            "variants": {name: matrix.miou(name) for name in VARIANTS},
            **{k: dict(zip(names, v.tolist(), strict=True)) for k, v in by_class.items()},
            "frequency_weighted_iou": matrix.frequency_weighted_iou(),
            "foreground": {
                "void_is_a_miss": matrix.foreground_errors(),
                "void_is_not_scored": matrix.labelled().foreground_errors(),
            },
            "confusion": matrix.counts.tolist(),
        }
    )


def _without_nan(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    return None if isinstance(value, float) and np.isnan(value) else value


def describe(figures: dict[str, Any]) -> str:
    """The figures as text: mIoU first, a line a class, then the evaluators and what was scored."""
    width = max(map(len, figures["iou"]))
    classes = [f"  {name:<{width}}  {_figure(iou)}" for name, iou in figures["iou"].items()]
    evaluators = [
        f"{'*' if name == figures['variant'] else ' '} {name:<4}  {_figure(miou)}  {RULES[name]}"
        for name, miou in figures["variants"].items()
    ]
    miss, unscored = figures["foreground"].values()
    errors = [
        f"  {about:<32}  {_figure(miss[name]):>9}  {_figure(unscored[name]):>9}"
        for name, about in ERRORS.items()
    ]
    lines = [
        f"mIoU {_figure(figures['miou'])}",
        *classes,
        "mIoU as published evaluators compute it; * leads",
        *evaluators,
        "means over the classes but background: void in a mask is a miss, or is not scored",
        *errors,
        f"split {figures['split']}, {figures['images']} images; IoU of each class: void in a mask "
        "is a miss, void in the truth is not scored",
    ]
    return "\n".join(lines) + "\n"


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if value < 1e4 else f"{value:.2e}"  # a class never hit: T÷TP astronomic


def draw(path: Path, counts: np.ndarray, names: list[str]) -> None:
    """Rows: truth, columns: prediction and void; shares of each row."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2 + 0.4 * len(names)
    figure, axes = plt.subplots(figsize=(side + 0.5, side), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    plain = {"parse_math": False}  # a class may be called anything
    axes.set_xticks(range(len(names) + 1), [*names, "void"], rotation=90, **plain)
    axes.set_yticks(range(len(names)), names, **plain)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row, column in np.ndindex(shares.shape):
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour)
    with atomic(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    run_stage(evaluate)
