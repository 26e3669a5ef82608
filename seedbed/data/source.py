"""A data set as its layout describes it; its images and masks are decoded and checked here.

Functions report each problem to a callback `on_problem(message)`, which may raise an error
(`raise_problem`) or collect the messages (`list.append`).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable, Labels, ids_in
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry
from seedbed.runtime.errors import UserError

BATCH = 256  # images whose masks are in memory at once
OnProblem = Callable[[str], None]
Decoded = tuple[ImageEntry, np.ndarray | None]


def raise_problem(message: str) -> None:
    """An `on_problem` that stops at the first problem with a UserError."""
    raise UserError(message)


@dataclass(frozen=True)
class Source:
    """A data set before its images are decoded.

    Attributes:
        splits: the split of each image id, in the order train, val, test.
        images: the file of each image id.
        table: the classes.
        labels: the class ids of each labelled image id.
        mask: function of image id and size (H, W) that returns the mask (H, W) of class ids, or
            None if there is none; val images must have one.
        label_source: where the labels are from.
        audit_list: see `Index`.
        notes: remarks that a check of the data set prints.

    """

    splits: dict[str, str]
    images: dict[str, Path]
    table: ClassTable
    labels: Labels
    mask: Callable[[str, tuple[int, int]], np.ndarray | None]
    label_source: str
    audit_list: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def train(self) -> list[str]:
        """Ids of the train images."""
        return [image_id for image_id, split in self.splits.items() if split == "train"]


def check_size(mask: np.ndarray, size: tuple[int, int], path: Path) -> np.ndarray:
    """Return a mask of its image's size (H, W); raise UserError for another size."""
    if mask.shape != size:
        turned = ", upright as its image is shown" if mask.shape == size[::-1] else ""
        raise UserError(
            f"mask {path} is {mask.shape}, its image {size}: make it the same size{turned}"
        )
    return mask


def check_classes(source: Source, on_problem: OnProblem) -> None:
    """Check that there are train images and that every class has one."""
    if not (train := source.train):
        on_problem(f"no image of {source.label_source} is a train image: list some")
    seen = {class_id for image_id in train for class_id in source.labels.get(image_id, ())}
    for class_id, info in enumerate(source.table.classes, 1):
        if class_id not in seen:
            on_problem(
                f"no train image has a {info.name} in {source.label_source}: take it off the "
                "classes"
            )


def decode_all(
    source: Source, data: Path, workers: int, on_problem: OnProblem
) -> Iterator[Decoded]:
    """Decode all images and masks in order, with `workers` threads (decoders release the GIL)."""
    ids = list(source.splits)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(ids), BATCH):
            for result in pool.map(partial(_try_decode, source, data), ids[start : start + BATCH]):
                if isinstance(result, UserError):
                    on_problem(str(result))
                else:
                    yield result


def _try_decode(source: Source, data: Path, image_id: str) -> Decoded | UserError:
    try:
        return decode(source, data, image_id)
    except UserError as error:
        return error


def decode(source: Source, data: Path, image_id: str) -> Decoded:
    """Decode an image and its mask.

    An image without labels gets the classes of its mask.

    Args:
        source: the data set.
        data: the folder that paths in the index are relative to.
        image_id: the image.

    Returns:
        The image's entry in the index, and its mask (H, W) of class ids or None.

    Raises:
        UserError: if a file is broken, or the mask is missing or wrong.

    """
    path = source.images[image_id]
    height, width, _ = read_image(path).shape
    mask = source.mask(image_id, (height, width))
    unlabelled = image_id not in source.labels and mask is not None
    entry = ImageEntry(
        id=image_id,
        path=_relative_to(path, data),
        height=height,
        width=width,
        labels=ids_in(mask) if unlabelled else source.labels.get(image_id, ()),
        split=source.splits[image_id],
        has_mask=mask is not None,
        sha256=sha256(path.read_bytes()).hexdigest(),
    )
    return entry, mask


def _relative_to(path: Path, data: Path) -> str:
    """The path relative to the data folder if it lies there, whichever of them is absolute."""
    absolute, folder = path.absolute(), data.absolute()
    return (absolute.relative_to(folder) if absolute.is_relative_to(folder) else path).as_posix()
