"""Steps of the chain scored against the ground truth."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from functools import partial

import numpy as np

from seedbed.data.index import SPLITS, ImageEntry, Index
from seedbed.evaluation.chain import Step
from seedbed.evaluation.lists import scored_lists
from seedbed.evaluation.metrics import ConfusionMatrix, confusion_matrix
from seedbed.formats.maps import Maps
from seedbed.runtime.pools import ordered_map


@dataclass
class Score:
    """Confusion matrix of a step over the images of a list for which the step has a mask."""

    step: Step
    list_name: str
    image_ids: Set[str]
    matrix: ConfusionMatrix
    images: int = 0

    def add(self, image_id: str, matrix: ConfusionMatrix) -> None:
        """Add the matrix of one image if the list has it."""
        if image_id in self.image_ids:
            self.matrix.merge(matrix)
            self.images += 1

    def as_row(self, class_names: Sequence[str]) -> dict[str, object]:
        """A row of quality.tsv.

        mIoU with void counted as a miss and on labelled pixels only, coverage, precision and
        recall as means over the classes and over all foreground pixels, and IoU by class. None
        stands for what is undefined, such as the IoU of a class that no mask has.
        """
        counts = self.matrix.counts
        correct = np.diag(counts[1:, 1:-1]).sum()
        row = {
            "list": self.list_name,
            "round": self.step.round,
            "step": self.step.name,
            "images": self.images,
            "miou": _defined(self.matrix.miou()),
            "miou_labelled": _defined(self.matrix.without_void().miou()),
            "coverage": _defined(self.matrix.coverage()),
            "precision": _mean(self.matrix.precision()),
            "recall": _mean(self.matrix.recall()),
            "foreground_precision": correct / max(counts[:, 1:-1].sum(), 1),
            "foreground_recall": correct / max(counts[1:].sum(), 1),
        }
        ious = zip(class_names, self.matrix.iou(), strict=True)
        return row | {f"iou {name}": _defined(iou) for name, iou in ious}


def _mean(by_class: np.ndarray) -> float | None:
    """Mean of the values that are not NaN; None if all are."""
    return None if np.isnan(by_class).all() else np.nanmean(by_class)


def _defined(value: float) -> float | None:
    """The value, or None for NaN."""
    return None if np.isnan(value) else value


def score_steps(
    index: Index, steps: Sequence[Step], truth: Maps, workers: int, *, tuning_every: int | None
) -> list[Score]:
    """Score the steps on every list of their splits; each image is labelled once.

    Scores come in the order of the steps; those without an image are left out. For `tuning_every`
    see `scored_lists`.
    """
    entries = {split: [e for e in index.split(split) if e.has_mask] for split in SPLITS}
    scores = []
    for step in steps:
        lists = scored_lists(step.split, entries[step.split], index, tuning_every)
        scores.append(_empty_scores(step, lists, index.num_classes))
    for split in SPLITS:
        of_split = [k for k, step in enumerate(steps) if step.split == split]
        if not of_split:
            continue
        work = partial(
            confusion_matrices,
            steps=[steps[k] for k in of_split],
            truth=truth,
            num_classes=index.num_classes,
        )
        results = ordered_map(work, entries[split], workers)
        for entry, matrices in zip(entries[split], results, strict=True):
            for k, matrix in zip(of_split, matrices, strict=True):
                if matrix is not None:
                    for score in scores[k]:
                        score.add(entry.id, matrix)
    return [score for of_step in scores for score in of_step if score.images]


def _empty_scores(
    step: Step, lists: Mapping[str, Sequence[ImageEntry]], num_classes: int
) -> list[Score]:
    return [
        Score(step, name, {entry.id for entry in listed}, ConfusionMatrix(num_classes))
        for name, listed in lists.items()
    ]


def confusion_matrices(
    entry: ImageEntry, *, steps: Sequence[Step], truth: Maps, num_classes: int
) -> list[ConfusionMatrix | None]:
    """An image's confusion matrix for each step, None where the step has no mask."""
    true_mask = truth[entry.id]
    masks = (step.mask(entry) for step in steps)
    return [
        None if mask is None else confusion_matrix(true_mask, mask, num_classes) for mask in masks
    ]
