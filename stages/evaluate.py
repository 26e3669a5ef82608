"""The final figure: masks against the truth."""

from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np

from seedbed.artefacts import Maps, atomic, write_json, write_text
from seedbed.data.index import Index
from seedbed.errors import UserError
from seedbed.metrics import VARIANTS, ConfusionMatrix
from stages.command import run_stage
from stages.settings import EvaluateSettings

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def evaluate(
    *,
    index: Annotated[Path, "dataset/index.json"],
    masks: Annotated[Path, "masks.h5"],
    truth: Annotated[Path, "dataset/masks.h5"],
    report: Annotated[Path, "to write: the figures to read"],
    metrics: Annotated[Path, "to write: the figures for programs"],
    confusion: Annotated[Path, "to write: the confusion matrix as a picture"],
    settings: EvaluateSettings,
) -> None:
    """Score every image of the split that has a true mask."""
    dataset = Index.load(index)
    entries = [entry for entry in dataset.split(settings.split) if entry.has_mask]
    if not entries:
        raise UserError(f"{index}: no image of split {settings.split} has a mask to score against")
    found, true = Maps([masks]), Maps([truth])
    matrix = ConfusionMatrix(dataset.num_classes)
    for entry in entries:
        matrix.update(true[entry.id], found[entry.id])
    names = dataset.class_names
    figures = {
        "split": settings.split,
        "images": len(entries),
        "variant": settings.variant,
        "miou": matrix.miou(settings.variant),
        "iou": dict(zip(names, _plain(matrix.iou()), strict=True)),
        "precision": dict(zip(names, _plain(matrix.precision()), strict=True)),
        "recall": dict(zip(names, _plain(matrix.recall()), strict=True)),
        "variants": {variant: matrix.miou(variant) for variant in VARIANTS},
        "confusion": matrix.counts.tolist(),
    }
    write_json(metrics, figures)
    _draw(confusion, matrix.counts, names)
    write_text(report, describe(figures))


def describe(figures: dict) -> str:
    """The figures as text: mIoU first, a line a class, then what was scored and how."""
    width = max(map(len, figures["iou"]))
    classes = [f"  {name:<{width}}  {_figure(iou)}" for name, iou in figures["iou"].items()]
    lines = [
        f"mIoU {_figure(figures['miou'])}",
        *classes,
        f"split {figures['split']}, {figures['images']} images; "
        f"evaluator {figures['variant']}: mean over the classes, void in a mask is a miss, "
        "void in the truth is not scored",
    ]
    return "\n".join(lines) + "\n"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]


def _draw(path: Path, counts: np.ndarray, names: list[str]) -> None:
    """Rows: truth, columns: prediction and void; shares of each row."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 2 + 0.4 * len(names)
    figure, axes = plt.subplots(figsize=(side + 0.5, side), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(names) + 1), [*names, "void"], rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row, column in np.ndindex(shares.shape):
        share = shares[row, column]
        colour = "white" if share > 0.5 else "black"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour)
    with atomic(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Run from the command line."""
    run_stage(evaluate)


if __name__ == "__main__":
    main()
