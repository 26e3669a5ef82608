"""Reading a PASCAL VOC devkit and SBD: lists, image-level labels and masks.

Files hold source ids, what is read from them class ids (see `seedbed.data.classes`).
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import defusedxml.ElementTree
import numpy as np
from defusedxml import DefusedXmlException

from seedbed.data.classes import ClassTable
from seedbed.formats.masks import read_mask
from seedbed.formats.mat import read_mat
from seedbed.formats.pickles import restricted as restricted_pickle
from seedbed.runtime.errors import UserError

Labels = dict[str, tuple[int, ...]]  # class ids by image id
IMAGE_ID = re.compile(r"(?!\.)[^\s/\\\x00-\x1f\x7f]+")


def read_lines(path: Path) -> list[str]:
    """Read a list's lines, stripped; blank ones are left out."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read the list {path}: {error}; save it as UTF-8") from error
    except OSError as error:
        raise UserError(f"cannot read the list {path}: {error}; put it there") from error
    return [line.strip() for line in lines if line.strip()]


def read_list(path: Path) -> list[str]:
    """Read an image list, one id a line, in its order.

    Raises UserError for an empty list, an id twice, or one that is no plain file name.
    """
    ids = read_lines(path)
    for image_id in ids:
        if not IMAGE_ID.fullmatch(image_id):
            raise UserError(f"{image_id!r} in {path} is no image id: write one file stem a line")
    if not ids:
        raise UserError(f"the list {path} is empty: write one image id a line")
    if len(set(ids)) < len(ids):
        twice, _ = Counter(ids).most_common(1)[0]
        raise UserError(f"{twice} stands twice in {path}: take one of them out")
    return ids


def image_id_of(name: str) -> str:
    """Take the folders and the suffix off an image's or a mask's name."""
    return re.sub(r"\.(jpe?g|png)$", "", PurePosixPath(name).name, flags=re.IGNORECASE)


def image_numbers(train: Sequence[str], input_list: Path | None) -> dict[str, int]:
    """Number the train images as DSRG's input_list.txt does ("id.jpg k" a line), or in order.

    Other images of the list fall out. Raises UserError for a line that is none, for a train image
    that is not listed, and for an image or a number that stands twice: its cues would be another's.
    """
    if input_list is None:
        return {image_id: k for k, image_id in enumerate(train)}
    listed: dict[str, int] = {}
    for line in read_lines(input_list):
        match = re.fullmatch(r"(.*\S)\s+([0-9]{1,9})", line)
        if not match:
            raise UserError(f"line {line!r} of {input_list} is no 'id.jpg k': mend it")
        image_id, number = image_id_of(match[1]), int(match[2])
        if image_id in listed:
            raise UserError(f"{image_id} stands twice in {input_list}: take one of them out")
        listed[image_id] = number
    if len(set(listed.values())) < len(listed):
        number, _ = Counter(listed.values()).most_common(1)[0]
        raise UserError(f"number {number} stands twice in {input_list}: give the list as published")
    for image_id in train:
        if image_id not in listed:
            raise UserError(f"train image {image_id} is not in {input_list}: give the whole list")
    return {image_id: listed[image_id] for image_id in train}


def read_annotation(path: Path) -> set[str]:
    """Read the class names of all objects of an annotation, difficult ones included."""
    try:
        objects = defusedxml.ElementTree.parse(path).getroot().findall("object")
    except FileNotFoundError:
        raise UserError(f"annotation {path} is missing: put it there") from None
    except (OSError, SyntaxError, ValueError, LookupError, DefusedXmlException) as error:
        raise UserError(f"cannot read the annotation {path}: {error}; get it again") from error
    names = {(found.findtext("name") or "").strip() for found in objects}
    if "" in names:
        raise UserError(f"an object in {path} has no name: give it its class")
    return names


def read_cls_labels(path: Path, table: ClassTable) -> Labels:
    """Read PSA's cls_labels.npy: a dict from id to a 0/1 vector over all source ids."""
    vectors = restricted_pickle.load(path)
    if not isinstance(vectors, Mapping):
        raise UserError(f"{path} holds no dict from image id to vector: write it again")
    labels, count = {}, len(table.names)
    for image_id, vector in vectors.items():
        if not isinstance(vector, np.ndarray) or vector.shape != (count,):
            raise UserError(f"{image_id} in {path} is no array of {count} values: mend it")
        if vector.dtype.kind not in "biuf" or not np.isin(vector, (0, 1)).all():
            raise UserError(f"{image_id} in {path} has values beside 0 and 1: mend it")
        labels[str(image_id)] = table.labels_of((np.flatnonzero(vector) + 1).tolist(), path)
    return labels


def read_train_cls(path: Path, table: ClassTable) -> Labels:
    """Read Group-WSSS' train_cls.txt: "id c1 c2 ..." a line, classes from 0."""
    labels = {}
    for line in read_lines(path):
        image_id, *numbers = line.split()
        if image_id in labels or not all(re.fullmatch("[0-9]{1,9}", number) for number in numbers):
            raise UserError(f"line {line!r} of {path} is none of 'id c1 c2', once an id: mend it")
        labels[image_id] = table.labels_of((int(number) + 1 for number in numbers), path)
    return labels


def read_source_mask(path: Path) -> np.ndarray:
    """Read a mask PNG, or SBD's `.mat`, as source ids (H, W) uint8."""
    if path.suffix != ".mat":
        return read_mask(path)
    try:
        content = read_mat(path)
    except Exception as error:  # the reader fails in many ways on a broken file
        raise UserError(f"cannot read the SBD mask {path}: {error}; get it again") from error
    struct = content.get("GTcls")
    mask = struct.get("Segmentation") if isinstance(struct, Mapping) else None
    if not isinstance(mask, np.ndarray) or mask.dtype.kind not in "biuf" or mask.ndim != 2:
        raise UserError(f"{path} holds no GTcls.Segmentation: give the files of SBD's folder cls")
    with np.errstate(invalid="ignore"):
        ids = mask.astype(np.uint8)
    if not np.array_equal(ids, mask):
        raise UserError(f"the SBD mask {path} holds values that are no class ids: get it again")
    return ids


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
