"""Reading a PASCAL VOC devkit and SBD: lists, image-level labels and masks.

Two numberings meet here. A data set's own masks and lists use *source ids*: 1..20 in VOC's order
if its class names are VOC's, else 1..K. The index and all that follows use *class ids* 1..K.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import defusedxml.ElementTree
import numpy as np
import scipy.io
from defusedxml import DefusedXmlException

from seedbed import restricted_pickle
from seedbed.artefacts import read_mask
from seedbed.data.index import ClassInfo
from seedbed.errors import UserError

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
VOID = 255
Labels = dict[str, tuple[int, ...]]  # class ids by image id


def read_lines(path: Path) -> list[str]:
    """Read a list's lines, stripped; blank ones are left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the list {path}: {error}; put it there") from error
    return [line.strip() for line in lines if line.strip()]


def read_list(path: Path) -> list[str]:
    """Read an image list, one id a line, in its order.

    Raises UserError for an empty list, an id twice, or one that is no plain file name.
    """
    ids = read_lines(path)
    for image_id in ids:
        if not re.fullmatch(r"[^\s./\\][^\s/\\]*", image_id):
            raise UserError(f"{image_id!r} in {path} is no image id: write one file stem a line")
    if not ids:
        raise UserError(f"the list {path} is empty: write one image id a line")
    if len(set(ids)) < len(ids):
        twice = next(one for place, one in enumerate(ids) if one in ids[:place])
        raise UserError(f"{twice} stands twice in {path}: take one of them out")
    return ids


def read_annotation(path: Path) -> set[str]:
    """Read the class names of all objects of an annotation, difficult ones included."""
    try:
        objects = defusedxml.ElementTree.parse(path).getroot().findall("object")
    except FileNotFoundError:
        raise UserError(f"annotation {path} is missing: put it there") from None
    except (OSError, SyntaxError, ValueError, DefusedXmlException) as error:
        raise UserError(f"cannot read the annotation {path}: {error}; get it again") from error
    names = {(found.findtext("name") or "").strip() for found in objects}
    if "" in names:
        raise UserError(f"an object in {path} has no name: give it its class")
    return names


def ids_in(mask: np.ndarray) -> tuple[int, ...]:
    """Give the sorted ids in a mask but background and void."""
    return tuple(value for value in np.unique(mask).tolist() if value not in (0, VOID))


@dataclass(frozen=True)
class ClassTable:
    """The classes of the index, and the names of all source ids (1..n) of the data set."""

    classes: tuple[ClassInfo, ...]
    names: tuple[str, ...]

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
        return cls(tuple(ClassInfo(name, names.index(name) + 1) for name in ordered), names)

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
        table = np.full(256, VOID, dtype=np.uint8)
        table[0] = 0
        for class_id, info in enumerate(self.classes, 1):
            table[info.source_id] = class_id
        self.labels_of(
            (value for value in np.unique(mask).tolist() if value not in (0, VOID)), path
        )
        return table[mask]


def read_cls_labels(path: Path, table: ClassTable) -> Labels:
    """Read PSA's cls_labels.npy: a dict from id to a 0/1 vector over all source ids."""
    vectors = restricted_pickle.load(path)
    if not isinstance(vectors, Mapping):
        raise UserError(f"{path} holds no dict from image id to vector: write it again")
    labels = {}
    for image_id, vector in vectors.items():
        if np.shape(vector) != (len(table.names),):
            raise UserError(f"{image_id} in {path} has no {len(table.names)} values: mend it")
        labels[str(image_id)] = table.labels_of((np.flatnonzero(vector) + 1).tolist(), path)
    return labels


def read_train_cls(path: Path, table: ClassTable) -> Labels:
    """Read Group-WSSS' train_cls.txt: "id c1 c2 ..." a line, classes from 0."""
    labels = {}
    for line in read_lines(path):
        image_id, *numbers = line.split()
        if image_id in labels or not all(re.fullmatch("[0-9]+", number) for number in numbers):
            raise UserError(f"line {line!r} of {path} is none of 'id c1 c2', once an id: mend it")
        labels[image_id] = table.labels_of((int(number) + 1 for number in numbers), path)
    return labels


def read_source_mask(path: Path) -> np.ndarray:
    """Read a mask PNG, or SBD's `.mat`, as source ids (H, W) uint8."""
    if path.suffix != ".mat":
        return read_mask(path)
    try:
        content = scipy.io.loadmat(path, simplify_cells=True)
        return np.asarray(content["GTcls"]["Segmentation"], dtype=np.uint8)
    except Exception as error:  # the reader fails in many ways on a broken file
        raise UserError(f"cannot read the SBD mask {path}: {error}; get it again") from error


@dataclass(frozen=True)
class Devkit:
    """A devkit's layout: `root` is the folder that holds JPEGImages, ImageSets and the rest.

    `sbd` is SBD's `benchmark_RELEASE/dataset`; `train_masks` names a folder of the devkit whose
    masks the train images have instead of VOC's and SBD's.
    """

    root: Path
    sbd: Path | None = None
    train_masks: str | None = None

    def __post_init__(self) -> None:
        folders = [self.root, self.sbd, self.train_masks and self.root / self.train_masks]
        for folder in filter(None, folders):
            if not folder.is_dir():
                raise UserError(f"there is no folder {folder}: put the data there, or name another")

    def image(self, image_id: str) -> Path:
        """Give the path of an image."""
        return self.root / "JPEGImages" / f"{image_id}.jpg"

    def image_list(self, name: str) -> Path:
        """Give the path of a segmentation list."""
        return self.root / "ImageSets" / "Segmentation" / f"{name}.txt"

    def annotation(self, image_id: str) -> Path:
        """Give the path of an image's annotation."""
        return self.root / "Annotations" / f"{image_id}.xml"

    def mask(self, image_id: str, split: str) -> Path | None:
        """Find an image's mask, or None.

        VOC's own stand before SBD's coarser ones, which have no void and no place in val and test.
        """
        train = split == "train"
        folder = self.train_masks if train and self.train_masks else "SegmentationClass"
        places = [self.root / folder / f"{image_id}.png"]
        if train and not self.train_masks and self.sbd:
            places.append(self.sbd / "cls" / f"{image_id}.mat")
        return next((path for path in places if path.is_file()), None)

    def class_table(self, train: Iterable[str], chosen: Sequence[str] | None) -> ClassTable:
        """Number the chosen classes, else those that the train images' annotations name."""
        if chosen is not None:
            return ClassTable.of(chosen, keep_order=True)
        if not (self.root / "Annotations").is_dir():
            raise UserError(f"there is no folder {self.root / 'Annotations'}: name the classes")
        return ClassTable.of(set().union(*(read_annotation(self.annotation(one)) for one in train)))

    def labels(self, source: str, table: ClassTable, ids: Iterable[str]) -> Labels:
        """Read the class ids of the images that a source knows, which need not be all.

        `source`: annotations (XML), cls_labels (PSA's .npy) or train_cls (Group-WSSS' list).
        """
        if source == "cls_labels":
            return read_cls_labels(self._label_file("cls_labels.npy"), table)
        if source == "train_cls":
            return read_train_cls(self._label_file("train_cls.txt"), table)
        paths = {image_id: self.annotation(image_id) for image_id in ids}
        return {
            image_id: table.labels_named(read_annotation(path), path)
            for image_id, path in paths.items()
            if path.is_file()
        }

    def _label_file(self, name: str) -> Path:
        """Find a label file of a published system in either folder of lists."""
        folders = [self.root / "ImageSets" / "Segmentation", self.root / "ImageSets"]
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
        raise UserError(f"{name} is in neither {folders[0]} nor {folders[1]}: put it there")
