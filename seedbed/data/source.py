"""A data set as its layout describes it, and its images, decoded and checked one by one.

What is wrong goes to a `Complain`: one that refuses ends the work, one that notes goes on.
"""

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassInfo, ClassTable, ids_in
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry
from seedbed.data.layouts.voc import Labels
from seedbed.runtime.errors import UserError

LONGEST_TEXT = 10_000  # characters
BATCH = 256  # images whose masks are in memory at once
Complain = Callable[[str], None]
Decoded = tuple[ImageEntry, np.ndarray | None]


def refuse(message: str) -> None:
    """Complain by ending the work."""
    raise UserError(message)


@dataclass(frozen=True)
class Source:
    """Splits, files and class ids by image id, in the order train, val, test.

    `mask` gives an image's mask (H, W) of class ids, or None, from its id and size; a val image has
    one. `label_source` says where the labels are from; `audit_list` is the index's, `notes` what a
    check of the data should tell.
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


def own_classes(names: list[str]) -> ClassTable:
    """Number classes 1..K as given, in masks too, whatever their names.

    Raises UserError for names that a table of results could not hold.
    """
    for name in names:
        if not is_plain(name) or name.casefold() == "background":
            raise UserError(f"{name!r} cannot name a class: name it otherwise")
    table = ClassTable.of(names, keep_order=True)
    return ClassTable(tuple(ClassInfo(info.name, k) for k, info in enumerate(table.classes, 1)))


def nfc(text: str) -> str:
    """Give the composed form of a text: file systems and spreadsheets differ in it.

    Raises UserError for one too long for a name: the time that it takes can grow with its square.
    """
    if len(text) > LONGEST_TEXT:
        raise UserError(f"{text[:20]!r}… has {len(text)} characters: shorten the name or label")
    return unicodedata.normalize("NFC", text)


def is_plain(text: str) -> bool:
    """Say whether a text can be printed on a line and written as UTF-8."""
    return bool(text.strip()) and all(unicodedata.category(c) not in ("Cc", "Cs") for c in text)


def is_image_id(text: str) -> bool:
    """Say whether a text is the stem of a visible file: any script, blanks within."""
    return is_plain(text) and text == text.strip() and text[0] != "." and not set(text) & set("/\\")


def same_size(mask: np.ndarray, size: tuple[int, int], path: Path) -> np.ndarray:
    """Give a mask that is as large as its image, or raise UserError."""
    if mask.shape != size:
        turned = ", upright as its image is shown" if mask.shape == size[::-1] else ""
        raise UserError(
            f"mask {path} is {mask.shape}, its image {size}: make it the same size{turned}"
        )
    return mask


def check_classes(source: Source, complain: Complain) -> None:
    """See that there are train images, and that every class has one."""
    if not (train := source.train):
        complain(f"no image of {source.label_source} is a train image: list some")
    seen = {class_id for image_id in train for class_id in source.labels.get(image_id, ())}
    for class_id, info in enumerate(source.table.classes, 1):
        if class_id not in seen:
            complain(
                f"no train image has a {info.name} in {source.label_source}: take it off the "
                "classes"
            )


def some(what: str, names: Iterable[str]) -> list[str]:
    """Say of how many things something holds, and of which; nothing if of none."""
    ordered = sorted(names)
    more = ", …" if len(ordered) > 3 else ""
    return [f"{len(ordered)} {what}: {', '.join(ordered[:3])}{more}"] if ordered else []


def decode_all(source: Source, data: Path, workers: int, complain: Complain) -> Iterator[Decoded]:
    """Decode images and masks with some threads (decoding frees the interpreter), in order."""
    ids = list(source.splits)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(ids), BATCH):
            for found in pool.map(partial(_attempt, source, data), ids[start : start + BATCH]):
                if isinstance(found, UserError):
                    complain(str(found))
                else:
                    yield found


def _attempt(source: Source, data: Path, image_id: str) -> Decoded | UserError:
    try:
        return decode(source, data, image_id)
    except UserError as error:
        return error


def decode(source: Source, data: Path, image_id: str) -> Decoded:
    """Give the entry of an image and its mask (H, W) of class ids, if it has one.

    An image that the labels leave out has the classes of its mask. Raises UserError for a broken
    file, and for a mask that is missing or wrong.
    """
    path = source.images[image_id]
    height, width, _ = read_image(path).shape
    mask = source.mask(image_id, (height, width))
    unlabelled = image_id not in source.labels and mask is not None
    entry = ImageEntry(
        id=image_id,
        path=(path.relative_to(data) if path.is_relative_to(data) else path).as_posix(),
        height=height,
        width=width,
        labels=ids_in(mask) if unlabelled else source.labels.get(image_id, ()),
        split=source.splits[image_id],
        has_mask=mask is not None,
        sha256=sha256(path.read_bytes()).hexdigest(),
    )
    return entry, mask
