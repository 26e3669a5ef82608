"""The gallery: which images it shows, their pictures, and the IoU of their masks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry
from seedbed.evaluation.chain import Step
from seedbed.evaluation.metrics import confusion_matrix
from seedbed.formats.maps import Maps
from seedbed.report.columns import PictureColumn
from seedbed.report.pictures import (
    MAX_CLASSES,
    downsample,
    error_map,
    fit_size,
    resize_nearest,
    write_mask_strip,
    write_photo_strip,
)
from seedbed.runtime.errors import UserError

PHOTO, TRUTH, ERROR = "photo", "truth", "error"


@dataclass(frozen=True)
class Gallery:
    """Columns from left to right: photo, pictures, masks, ground truth, errors of the last mask.

    `data` is the folder that image paths are relative to, `truth` holds the ground truth masks,
    `masks` the steps of the chain by heading, `side` is the longer side of a picture in pixels.

    Raises:
        UserError: if there are so many classes that no ids are left for the error map.

    """

    data: Path
    num_classes: int
    truth: Maps
    pictures: Sequence[PictureColumn]
    masks: Mapping[str, Sequence[Step]]
    side: int

    def __post_init__(self) -> None:
        if self.num_classes > MAX_CLASSES:
            raise UserError(
                f"the report shows at most {MAX_CLASSES} classes, not {self.num_classes}: "
                "name fewer in convert.classes"
            )

    @property
    def columns(self) -> list[str]:
        """The headings from left to right."""
        return [PHOTO, *(column.title for column in self.pictures), *self.masks, TRUTH, ERROR]

    def __contains__(self, entry: ImageEntry) -> bool:
        """Whether there is anything to show of an image beside its photo."""
        steps = (step for steps in self.masks.values() for step in steps)
        return any(entry in column for column in (*self.pictures, *steps))

    def final_score(self, entry: ImageEntry) -> float | None:
        """Mean IoU of an image's last mask; None without a mask or ground truth."""
        for _, mask in self._masks(entry, reversed(self.masks)):
            return self._score(self.truth.get(entry.id), mask)
        return None

    def draw(self, entry: ImageEntry, folder: Path) -> dict[str, Any]:
        """Write an image's pictures as two strips and return its row for the page.

        `{id}.jpg` holds the columns that the row lists under "pictures", `{id}.png` those under
        "masks", each with its mean IoU.
        """
        image = read_entry(self.data, entry)
        size = fit_size(*image.shape[:2], self.side)
        number = {title: k for k, title in enumerate(self.columns)}
        pictures = self._draw_pictures(entry, downsample(image, size))
        write_photo_strip(folder / f"{entry.id}.jpg", [*pictures.values()])
        truth = self.truth.get(entry.id)
        masks = dict(self._masks(entry, self.masks))
        scores = {title: self._score(truth, mask) for title, mask in masks.items()}
        masks |= _truth_and_errors(truth, [*masks.values()])
        if masks:
            small = [resize_nearest(mask, size) for mask in masks.values()]
            write_mask_strip(folder / f"{entry.id}.png", small)
        return {
            "id": entry.id,
            "split": entry.split,
            "tags": list(entry.labels),
            "size": [size[1], size[0]],
            "pictures": [number[title] for title in pictures],
            "masks": [[number[title], scores.get(title)] for title in masks],
        }

    def _draw_pictures(self, entry: ImageEntry, photo: np.ndarray) -> dict[str, np.ndarray]:
        drawn = (column for column in self.pictures if entry in column)
        return {PHOTO: photo} | {c.title: c.draw(c.maps, entry.id, photo) for c in drawn}

    def _masks(
        self, entry: ImageEntry, titles: Iterator[str] | Mapping[str, Any]
    ) -> Iterator[tuple[str, np.ndarray]]:
        """The masks (H, W) that an image has in these columns."""
        for title in titles:
            for step in self.masks[title]:
                if entry in step and (mask := step.mask(entry)) is not None:
                    yield title, mask

    def _score(self, truth: np.ndarray | None, mask: np.ndarray) -> float | None:
        """Mean IoU of one image, over the classes in its truth or its mask."""
        if truth is None:
            return None
        score = confusion_matrix(truth, mask, self.num_classes).miou()
        return None if np.isnan(score) else round(score, 3)


def _truth_and_errors(
    truth: np.ndarray | None, masks: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """The last two columns, as far as an image has ground truth and a mask."""
    if truth is None:
        return {}
    return {TRUTH: truth} | ({ERROR: error_map(truth, masks[-1])} if masks else {})


def spread(scores: Sequence[float | None], count: int) -> list[int]:
    """Choose `count` indices evenly from the lowest to the highest score, in ascending order.

    None counts as the lowest; equal scores keep the order of the list.
    """
    order = sorted(range(len(scores)), key=lambda k: -1.0 if scores[k] is None else scores[k])
    ranks = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return sorted(order[rank] for rank in ranks)
