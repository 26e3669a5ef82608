"""The two numberings of classes, and the way from one to the other.

A data set's own masks and lists, and every published format, use *source ids*: 1..20 in VOC's
order if the class names are VOC's, else 1..K. The index and all that follows use *class ids* 1..K.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedbed.runtime.errors import UserError

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
VOID = 255


@dataclass(frozen=True)
class ClassInfo:
    """A class and the id that the data set's own masks and lists give it (VOC: 1..20)."""

    name: str
    source_id: int


@dataclass(frozen=True)
class ClassTable:
    """The classes of the index by class id, from 1."""

    classes: tuple[ClassInfo, ...]

    @classmethod
    def of(cls, wanted: Iterable[str], *, keep_order: bool = False) -> "ClassTable":
        """Number the classes of the index, ordered by source id or (`keep_order`) as given.

        Names that are all VOC's have VOC's source ids. Others are numbered alphabetically, or as
        given: then they must be all the classes that the masks have.
        """
        ordered = list(wanted) if keep_order else sorted(wanted)
        if not ordered or len(set(ordered)) < len(ordered):
            raise UserError(f"classes: {ordered} is empty or names a class twice: mend the list")
        if len(ordered) >= VOID:
            raise UserError(f"classes: {len(ordered)} do not fit into 8-bit masks: 254 at most")
        # VOC's names stand in alphabetical order, so that sorted is ordered by source id.
        names = VOC_CLASSES if set(ordered) <= set(VOC_CLASSES) else tuple(ordered)
        return cls(tuple(ClassInfo(name, names.index(name) + 1) for name in ordered))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all source ids of the data set, from 1."""
        ours = {info.source_id: info.name for info in self.classes}
        if all(VOC_CLASSES[i - 1 : i] == (name,) for i, name in ours.items()):
            return VOC_CLASSES
        return tuple(info.name for info in self.classes)

    @property
    def source_ids(self) -> np.ndarray:
        """Source ids by class id, (K + 1,) int64, background's 0 first.

        Taking them from an array over source ids leaves one over class ids.
        """
        return np.array([0, *(info.source_id for info in self.classes)])

    def labels_of(self, source_ids: Iterable[int], path: Path) -> tuple[int, ...]:
        """Turn source ids into sorted class ids; VOC's classes that are not in the index fall out.

        Raises UserError, naming `path`, for an id that is no source id.
        """
        known = {info.source_id: place for place, info in enumerate(self.classes, 1)}
        for source_id in (found := set(source_ids)):
            if not 1 <= source_id <= len(self.names):
                raise UserError(
                    f"{path} holds class {source_id}, and the classes are 1 to "
                    f"{len(self.names)}: mend it, or the list of classes"
                )
        return tuple(sorted(known[source_id] for source_id in found if source_id in known))

    def labels_named(self, names: Iterable[str], path: Path) -> tuple[int, ...]:
        """Turn class names into sorted class ids, as `labels_of`."""
        unknown = sorted(set(names) - set(self.names))
        if unknown:
            raise UserError(f"{path} names {unknown[0]!r}, no known class: add it to the classes")
        return self.labels_of((self.names.index(name) + 1 for name in names), path)

    def mask_of(self, mask: np.ndarray, path: Path) -> np.ndarray:
        """Turn a mask (H, W) of source ids into class ids.

        Background and void stay. A VOC class that is not in the index becomes void, because it
        is not background. Raises UserError, naming `path`, for any other value.
        """
        self.labels_of(ids_in(mask), path)
        table = np.full(256, VOID, dtype=np.uint8)
        table[self.source_ids] = np.arange(len(self.source_ids))
        return table[mask]

    def source_mask(self, mask: np.ndarray) -> np.ndarray:
        """Turn a mask (H, W) uint8 of class ids, background and void into source ids."""
        table = np.full(256, VOID, dtype=np.uint8)
        table[: len(self.source_ids)] = self.source_ids
        return table[mask]

    def source_planes(self, planes: np.ndarray) -> np.ndarray:
        """Turn planes by class id (K + 1, …) into planes by source id (n + 1, …), others 0."""
        spread = np.zeros((len(self.names) + 1, *planes.shape[1:]), dtype=planes.dtype)
        spread[self.source_ids] = planes
        return spread


def ids_in(mask: np.ndarray) -> tuple[int, ...]:
    """Give the sorted ids in a mask but background and void."""
    return tuple(value for value in np.unique(mask).tolist() if value not in (0, VOID))
