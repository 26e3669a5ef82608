"""A data set as its layout describes it; its images and masks are decoded and checked here.

Functions report each problem to a callback `on_problem(message)`, which may raise an error
(`raise_problem`) or collect the messages (`list.append`).
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import numpy as np

from seedbed.data.classes import ClassTable, Labels, ids_in
from seedbed.data.images import decode_image
from seedbed.data.index import SPLITS, ImageEntry
from seedbed.data.mask_check import only_void, palette_problems
from seedbed.data.mask_numbers import misnumbered
from seedbed.formats.mask_coding import MaskCoding, MaskForm
from seedbed.runtime.errors import UserError

BATCH = 256  # images whose masks are in memory at once
OnProblem = Callable[[str], None]
EntryAndMask = tuple[ImageEntry, np.ndarray | None]
Item = TypeVar("Item")
Result = TypeVar("Result")


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
        notes: remarks that the conversion and a check of the data set print.
        bits: significant bits of images of 16 bits a channel; None: as the file says.
        mask_coding: what the user's own values or colours in mask files mean.
        mask_forms: what each mask file held, by image id; filled as masks are read.

    """

    splits: dict[str, str]
    images: dict[str, Path]
    table: ClassTable
    labels: Labels
    mask: Callable[[str, tuple[int, int]], np.ndarray | None]
    label_source: str
    audit_list: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    bits: int | None = None
    mask_coding: MaskCoding | None = None
    mask_forms: dict[str, MaskForm] = field(default_factory=dict)

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


def check_masks(source: Source, on_problem: OnProblem) -> None:
    """Check what the masks hold together, once all images and masks are decoded."""
    forms, table = source.mask_forms, source.table
    problems = palette_problems(forms.values())
    for split in SPLITS:
        same = [form for image_id, form in forms.items() if source.splits[image_id] == split]
        problems += only_void(same, table.classes[0].name)
    if not source.mask_coding:
        labels = {i: table.source_ids[list(found)].tolist() for i, found in source.labels.items()}
        problems += misnumbered(forms, labels, table.own_names)
    for problem in problems:
        on_problem(problem)


def decode_all(
    source: Source, data: Path, workers: int, on_problem: OnProblem
) -> Iterator[EntryAndMask]:
    """Decode all images and masks in order, with `workers` threads (decoders release the GIL)."""
    for result in threaded_map(partial(_try_decode, source, data), list(source.splits), workers):
        if isinstance(result, UserError):
            on_problem(str(result))
        else:
            yield result


def threaded_map(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int
) -> Iterator[Result]:
    """Results of `function` in the order of `items`, of which at most BATCH are in memory."""
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), BATCH):
            yield from pool.map(function, items[start : start + BATCH])


def _try_decode(source: Source, data: Path, image_id: str) -> EntryAndMask | UserError:
    try:
        return decode(source, data, image_id)
    except UserError as error:
        return error


def decode(source: Source, data: Path, image_id: str) -> EntryAndMask:
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
    image = decode_image(path, bits=source.bits)
    height, width, _ = image.pixels.shape
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
        bits=image.bits,
        highest=image.highest,
    )
    return entry, mask


def _relative_to(path: Path, data: Path) -> str:
    """The path relative to the data folder if it lies there, whichever of them is absolute."""
    absolute, folder = path.absolute(), data.absolute()
    return (absolute.relative_to(folder) if absolute.is_relative_to(folder) else path).as_posix()
