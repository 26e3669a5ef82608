"""Class names and the two kinds of class ids.

A data set's own masks and lists and all published formats use *source ids*: VOC's 1..20 if all
class names are VOC's, else 1..K. The index and everything made from it use *class ids* 1..K.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedbed.data.text import is_printable
from seedbed.formats.mask_coding import MaskCoding, MaskReader
from seedbed.formats.palette import VOID
from seedbed.runtime.errors import UserError

WHOLE_NUMBER = re.compile("[0-9]{1,9}")
Labels = dict[str, tuple[int, ...]]  # class ids by image id

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


@dataclass(frozen=True)
class ClassInfo:
    """A class and its id in the data set's own masks and lists (VOC: 1..20)."""

    name: str
    source_id: int


@dataclass(frozen=True)
class ClassTable:
    """The classes of an index in the order of their class ids, which start at 1."""

    classes: tuple[ClassInfo, ...]

    @classmethod
    def of(cls, wanted: Iterable[str], *, keep_order: bool = False) -> "ClassTable":
        """The table of the given classes.

        If all names are VOC's, source ids are VOC's. Otherwise they are 1..K in the order of the
        class ids, so that the names must be all classes of the data set's masks.

        Args:
            wanted: names of the classes.
            keep_order: whether class ids follow the order of `wanted`; default: see `in_order`.

        Raises:
            UserError: if there is no class, a class is named twice, or there are more than 254.

        """
        ordered = list(wanted) if keep_order else in_order(wanted)
        if not ordered:
            raise UserError("classes: the list is empty: name one or more")
        if len(set(ordered)) < len(ordered):
            twice = next(name for name in ordered if ordered.count(name) > 1)
            raise UserError(f"classes: {twice!r} is named twice: take one of them out")
        if len(ordered) >= VOID:
            raise UserError(f"classes: {len(ordered)} do not fit into 8-bit masks: 254 at most")
        # VOC's classes are in alphabetical order: sorted names have ascending source ids.
        names = VOC_CLASSES if set(ordered) <= set(VOC_CLASSES) else tuple(ordered)
        return cls(tuple(ClassInfo(name, names.index(name) + 1) for name in ordered))

    @classmethod
    def own(cls, names: list[str]) -> "ClassTable":
        """The table of a user's own data set: source ids 1..K in the given order.

        Raises UserError for names that cannot be printed in a table.
        """
        for name in names:
            if not is_printable(name) or name.casefold() == "background":
                raise UserError(f"{name!r} cannot name a class: name it otherwise")
        table = cls.of(names, keep_order=True)
        return cls(tuple(ClassInfo(info.name, k) for k, info in enumerate(table.classes, 1)))

    @property
    def own_names(self) -> dict[int, str]:
        """Name of each class of the table by source id."""
        return {info.source_id: info.name for info in self.classes}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all source ids of the data set, starting with id 1."""
        ours = self.own_names
        if all(VOC_CLASSES[i - 1 : i] == (name,) for i, name in ours.items()):
            return VOC_CLASSES
        return tuple(info.name for info in self.classes)

    @property
    def source_ids(self) -> np.ndarray:
        """Source ids by class id, (K + 1,) int64, starting with background's 0.

        Indexing an array over source ids with it gives an array over class ids.
        """
        return np.array([0, *(info.source_id for info in self.classes)])

    def labels_of(self, source_ids: Iterable[int], path: Path) -> tuple[int, ...]:
        """Source ids → sorted class ids; VOC classes that are not in the table are left out.

        Raises UserError, naming `path`, for an id that is not a source id.
        """
        class_ids = {info.source_id: class_id for class_id, info in enumerate(self.classes, 1)}
        for source_id in (present := set(source_ids)):
            if not 1 <= source_id <= len(self.names):
                raise UserError(
                    f"{path} holds class {source_id}, and the classes are 1 to "
                    f"{len(self.names)}: correct it, or the list of classes"
                )
        return tuple(sorted(class_ids[i] for i in present if i in class_ids))

    def labels_named(self, names: Iterable[str], path: Path) -> tuple[int, ...]:
        """Class names → sorted class ids, see `labels_of`."""
        unknown = sorted(set(names) - set(self.names))
        if unknown:
            raise UserError(f"{path} names {unknown[0]!r}, no known class: add it to the classes")
        return self.labels_of((self.names.index(name) + 1 for name in names), path)

    def mask_reader(self, coding: MaskCoding | None) -> MaskReader:
        """What reads the data set's mask files as source ids."""
        return MaskReader(len(self.names), self.names == VOC_CLASSES, coding)

    def mask_of(self, mask: np.ndarray, path: Path) -> np.ndarray:
        """A mask (H, W) of source ids → a mask of class ids.

        Background and void are kept; VOC classes that are not in the table become void, as they
        are not background. Raises UserError, naming `path`, for any other value.
        """
        self.labels_of(ids_in(mask), path)
        table = np.full(256, VOID, dtype=np.uint8)
        table[self.source_ids] = np.arange(len(self.source_ids))
        return table[mask]

    def source_mask(self, mask: np.ndarray) -> np.ndarray:
        """A mask (H, W) uint8 of class ids → a mask of source ids; background and void are kept."""
        table = np.full(256, VOID, dtype=np.uint8)
        table[: len(self.source_ids)] = self.source_ids
        return table[mask]

    def source_planes(self, planes: np.ndarray) -> np.ndarray:
        """Arrays by class id (K + 1, …) → by source id (n + 1, …); other ids are 0."""
        by_source_id = np.zeros((len(self.names) + 1, *planes.shape[1:]), dtype=planes.dtype)
        by_source_id[self.source_ids] = planes
        return by_source_id


def in_order(names: Iterable[str]) -> list[str]:
    """Class names in alphabetical order, or in that of numbers if all are whole numbers."""
    ordered = sorted(names)
    return sorted(ordered, key=int) if all(map(WHOLE_NUMBER.fullmatch, ordered)) else ordered


def check_numbers(names: Sequence[str], on_problem: Callable[[str], None]) -> None:
    """Report whole numbers as class names that are not the numbers 1..K in the masks.

    A 3 in a mask would otherwise be a class named 5.
    """
    if all(map(WHOLE_NUMBER.fullmatch, names)) and names != [str(k + 1) for k in range(len(names))]:
        on_problem(
            f"the classes are the numbers {', '.join(names[:5])}{', …' * (len(names) > 5)}, and in "
            f"masks they would be 1 to {len(names)}: say what each id means in "
            "convert.mask_values, or list the classes in their order in convert.classes"
        )


def ids_in(mask: np.ndarray) -> tuple[int, ...]:
    """The sorted ids in a mask, without background and void."""
    return tuple(value for value in np.unique(mask).tolist() if value not in (0, VOID))
