"""The gallery: the pictures of an image, how good its masks are, and which images are shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry
from seedbed.evaluation.metrics import ConfusionMatrix
from seedbed.formats.maps import Maps
from seedbed.report.pictures import (
    MOST_CLASSES,
    error_map,
    fitted,
    sample,
    shrink,
    write_mask_strip,
    write_photo_strip,
)
from seedbed.report.steps import Label, Paint, Step
from seedbed.runtime.errors import UserError

PHOTO, TRUTH, ERROR = "photo", "truth", "error"


@dataclass(frozen=True)
class Gallery:
    """The steps from left to right: photo, pictures, masks, truth, errors of the last mask.

    `data` is the folder that the images' paths are relative to, `truth` holds the true masks,
    `side` is the longer side of the pictures in pixels.

    Raises:
        UserError: if there are so many classes that no codes are left for the error map.

    """

    data: Path
    num_classes: int
    truth: Maps
    painted: Sequence[Step[Paint]] = ()
    masks: Sequence[Step[Label]] = ()
    side: int = 320

    def __post_init__(self) -> None:
        if self.num_classes > MOST_CLASSES:
            raise UserError(
                f"the report shows at most {MOST_CLASSES} classes, not {self.num_classes}: "
                "name fewer in convert.classes"
            )

    @property
    def columns(self) -> list[str]:
        """The headings, in the order of the steps."""
        return [PHOTO, *(step.title for step in (*self.painted, *self.masks)), TRUTH, ERROR]

    def __contains__(self, entry: ImageEntry) -> bool:
        """Whether a step has something of an image."""
        return any(entry in step for step in (*self.painted, *self.masks))

    def score(self, truth: np.ndarray | None, mask: np.ndarray) -> float | None:
        """Mean IoU of one image, over the classes in its truth or its mask."""
        if truth is None:
            return None
        matrix = ConfusionMatrix(self.num_classes)
        matrix.update(truth, mask)
        score = matrix.miou()
        return None if np.isnan(score) else round(score, 3)

    def final_score(self, entry: ImageEntry) -> float | None:
        """Mean IoU of an image's last mask; None without one or without truth."""
        for step in reversed(self.masks):
            if entry in step and (mask := step.show(step.maps, entry.id)) is not None:
                return self.score(self.truth.get(entry.id), mask)
        return None

    def draw(self, entry: ImageEntry, folder: Path) -> dict[str, Any]:
        """Write an image's pictures as two strips and give its row for the page.

        `{id}.jpg` holds the columns that the row lists under `pictures`, `{id}.png` those under
        `masks`, each with its score.
        """
        image = read_image(self.data / entry.path)
        size = fitted(*image.shape[:2], self.side)
        photo = shrink(image, size)
        place = {title: number for number, title in enumerate(self.columns)}
        pictures = {PHOTO: photo} | {
            step.title: step.show(step.maps, entry.id, photo)
            for step in self.painted
            if entry in step
        }
        write_photo_strip(folder / f"{entry.id}.jpg", [*pictures.values()])
        truth = self.truth.get(entry.id)
        masks = self._masks(entry)
        row = {
            "id": entry.id,
            "split": entry.split,
            "tags": list(entry.labels),
            "size": [size[1], size[0]],
            "pictures": [place[title] for title in pictures],
            "masks": [[place[title], self.score(truth, mask)] for title, mask in masks.items()],
        }
        if truth is not None:
            errors = {ERROR: error_map(truth, [*masks.values()][-1])} if masks else {}
            masks |= {TRUTH: truth, **errors}
            row["masks"] += [[place[title], None] for title in (TRUTH, *errors)]
        if masks:
            small = [sample(mask, size) for mask in masks.values()]
            write_mask_strip(folder / f"{entry.id}.png", small)
        return row

    def _masks(self, entry: ImageEntry) -> dict[str, np.ndarray]:
        found = {step.title: step.show(step.maps, entry.id) for step in self.masks if entry in step}
        return {title: mask for title, mask in found.items() if mask is not None}


def spread(scores: Sequence[float | None], count: int) -> list[int]:
    """Choose `count` places evenly from the worst to the best score, in the order of the list.

    Places without a score count as the worst; equal scores keep the list's order.
    """
    order = sorted(range(len(scores)), key=lambda k: -1.0 if scores[k] is None else scores[k])
    places = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return sorted(order[place] for place in places)
