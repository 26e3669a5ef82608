"""The final figures: masks of a split against the ground truth."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

from seedbed.data.index import Index
from seedbed.evaluation.metrics import ConfusionMatrix, confusion_matrix
from seedbed.evaluation.plots import plot_confusion
from seedbed.evaluation.summary import summarise, summary_text
from seedbed.formats.maps import Maps
from seedbed.formats.tables import write_json, write_text
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from stages.command import Workers, run_stage
from stages.settings import EvaluateSettings

POOL_IMAGES = 3000  # from here on worker processes gain more than the import of torch costs


def evaluate(
    *,
    index: Annotated[Path, "dataset/index.json"],
    masks: Annotated[Path, "masks.h5"],
    truth: Annotated[Path, "dataset/masks.h5"],
    report: Annotated[Path, "to write: the figures as text (miou.txt)"],
    metrics: Annotated[Path, "to write: the figures as JSON"],
    confusion: Annotated[Path, "to write: the confusion matrix as a PNG"],
    settings: EvaluateSettings,
    workers: Workers = 1,
) -> None:
    """Score every image of the split that has a ground truth mask."""
    dataset = Index.load(index)
    ids = [entry.id for entry in dataset.split(settings.split) if entry.has_mask]
    if not ids:
        raise UserError(f"{index}: no image of split {settings.split} has a mask to score against")
    matrix = total_confusion(ids, Maps([truth]), Maps([masks]), dataset.num_classes, workers)
    scope = {"split": settings.split, "images": len(ids), "variant": settings.variant}
    figures = scope | summarise(matrix, dataset.class_names, settings.variant)
    write_json(metrics, figures)
    plot_confusion(confusion, matrix.counts, dataset.class_names)
    write_text(report, summary_text(figures))


def total_confusion(
    ids: Sequence[str], truth: Maps, masks: Maps, num_classes: int, workers: int
) -> ConfusionMatrix:
    """Confusion matrix over all images; worker processes count if there are many."""
    count = partial(image_confusion, truth=truth, masks=masks, num_classes=num_classes)
    if workers > 1 and len(ids) >= POOL_IMAGES:
        from seedbed.runtime.pools import ordered_map

        matrices = ordered_map(count, ids, workers)
    else:
        matrices = map(count, progress(ids))
    return sum(matrices, start=ConfusionMatrix(num_classes))


def image_confusion(
    image_id: str, *, truth: Maps, masks: Maps, num_classes: int
) -> ConfusionMatrix:
    """Confusion matrix of one image."""
    return confusion_matrix(truth[image_id], masks[image_id], num_classes)


if __name__ == "__main__":
    run_stage(evaluate)
