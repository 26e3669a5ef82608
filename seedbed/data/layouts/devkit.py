"""A PASCAL VOC devkit, with or without SBD, as a source of images, labels and masks."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable, Labels, check_numbers
from seedbed.data.file_names import IMAGES, MASKS, MatchedFolder, files_of
from seedbed.data.index import SPLITS
from seedbed.data.layouts import augmented
from seedbed.data.layouts.voc import (
    read_annotation,
    read_cls_labels,
    read_sbd_mask,
    read_train_cls,
)
from seedbed.data.lists import image_numbers, read_list
from seedbed.data.mask_names import NO_NAMES, MaskNames
from seedbed.data.source import OnProblem, Source, check_size
from seedbed.data.text import compose
from seedbed.formats.cue_pickle import by_image, read_cue_labels
from seedbed.formats.mask_coding import MaskCoding, MaskForm, MaskReader
from seedbed.runtime.errors import UserError


@dataclass(frozen=True)
class Devkit:
    """Where the files of a devkit are.

    Attributes:
        root: the folder with JPEGImages, ImageSets and so on.
        sbd: SBD's folder `benchmark_RELEASE/dataset`.
        train_masks: name of a folder in `root` with masks of the train images, to be used instead
            of VOC's and SBD's.

    """

    root: Path
    sbd: Path | None = None
    train_masks: str | None = None

    def __post_init__(self) -> None:
        folders = [self.root, self.sbd, self.train_masks and self.root / self.train_masks]
        for folder in filter(None, folders):
            if not folder.is_dir():
                raise UserError(f"there is no folder {folder}: put the data there, or name another")

    def images(self, ids: Iterable[str]) -> MatchedFolder:
        """The images, JPEGs first."""
        return MatchedFolder(self.root / "JPEGImages", ids, IMAGES)

    def image_list(self, name: str) -> Path:
        """The path of a segmentation list."""
        return MatchedFolder(self.root / "ImageSets" / "Segmentation", [name], (".txt",)).of(name)

    def annotations(self, ids: Iterable[str]) -> MatchedFolder:
        """The images' annotations."""
        return MatchedFolder(self.root / "Annotations", ids, (".xml",))

    def masks(self, splits: Mapping[str, str]) -> dict[str, Path]:
        """The paths of the images' masks; an image without one is missing.

        VOC's own masks are preferred to SBD's, which are coarser, have no void and are only used
        for train images.
        """
        train = {image_id for image_id, split in splits.items() if split == "train"}
        folder = self.root / "SegmentationClass"
        voc = MatchedFolder(folder, splits, MASKS).paths if folder.is_dir() else {}
        if self.train_masks:
            own = MatchedFolder(self.root / self.train_masks, splits, MASKS).paths
            return {i: path for i, path in voc.items() if i not in train} | {
                i: path for i, path in own.items() if i in train
            }
        sbd = MatchedFolder(self.sbd / "cls", splits, (".mat",)).paths if self.sbd else {}
        return {i: path for i, path in sbd.items() if i in train} | voc

    def notes(self, splits: Mapping[str, str]) -> list[str]:
        """Remarks on files that no image uses."""
        folder = self.root / "JPEGImages"
        ids = {*splits, *(compose(path.stem) for path in files_of(folder, IMAGES))}
        if not (masks := self.root / "SegmentationClass").is_dir():
            return []
        return MatchedFolder(masks, ids, MASKS).describe_strays("masks", f"image in {folder}")

    def class_table(self, train: Iterable[str], chosen: Sequence[str] | None) -> ClassTable:
        """The chosen classes or, without a choice, those in the train images' annotations."""
        if chosen is not None:
            return ClassTable.of(chosen, keep_order=True)
        if not (self.root / "Annotations").is_dir():
            raise UserError(f"there is no folder {self.root / 'Annotations'}: name the classes")
        train = list(train)
        annotations = self.annotations(train)
        names = set().union(*(read_annotation(annotations.of(image_id)) for image_id in train))
        if not names:
            raise UserError(f"{annotations} names no class of a train image: label the images")
        return ClassTable.of(names)

    def labels(self, source: str, table: ClassTable, ids: Iterable[str]) -> Labels:
        """Read the class ids of images; images that the label source does not have are missing.

        `source`: "annotations" (XML), "cls_labels" (PSA's .npy) or "train_cls" (Group-WSSS').
        """
        if source == "cls_labels":
            return read_cls_labels(self._label_file("cls_labels.npy"), table, set(ids))
        if source == "train_cls":
            return read_train_cls(self._label_file("train_cls.txt"), table)
        return {
            image_id: table.labels_named(read_annotation(path), path)
            for image_id, path in self.annotations(ids).paths.items()
        }

    def _label_file(self, name: str) -> Path:
        """The path of a label file of a published system, in one of the two folders of lists."""
        folders = [self.root / "ImageSets" / "Segmentation", self.root / "ImageSets"]
        for folder in folders:
            if (folder / name).is_file():
                return folder / name
        raise UserError(f"{name} is in neither {folders[0]} nor {folders[1]}: put it there")


def devkit_source(
    devkit: Devkit,
    *,
    lists: Mapping[str, str | None],
    label_source: str,
    classes: Sequence[str] | None = None,
    keep_negatives: bool,
    cue_pickle: Path | None = None,
    cue_list: Path | None = None,
    mask_names: MaskNames = NO_NAMES,
    on_problem: OnProblem,
) -> Source:
    """Read a devkit's lists and labels.

    Args:
        devkit: where the files are.
        lists: the name of each split's list, or None.
        label_source: "cues", or see `Devkit.labels`.
        classes: the names of the classes in order; default: those in the train annotations.
        keep_negatives: whether train images may have no class; they show only background.
        cue_pickle: DSRG's localization_cues.pickle, for label source "cues".
        cue_list: its input_list.txt.
        mask_names: what the masks hold, unless source ids or VOC's colours.
        on_problem: called for every train image without a class.

    Raises:
        UserError: if a list or a label is wrong.

    """
    notes: list[str] = []
    splits = read_lists(devkit, lists, notes.append)
    if notes and cue_pickle and not cue_list:
        raise UserError(f"the cues need --cue-list: they count in their own list; {notes[0]}")
    train = [image_id for image_id, split in splits.items() if split == "train"]
    table = devkit.class_table(train, classes)
    if label_source == "cues":
        labels = cue_labels(cue_pickle, cue_list, table, train)
    else:
        labels = devkit.labels(label_source, table, splits)
    check_labelled(train, labels, label_source, keep_negatives, on_problem)
    coding = mask_names.coding(table.names)
    if classes is None and coding is None:
        check_numbers([info.name for info in table.classes], on_problem)
    images, forms = devkit.images(splits), {}
    return Source(
        splits=splits,
        images={image_id: images.of(image_id) for image_id in splits},
        table=table,
        labels=labels,
        mask=mask_source(devkit, splits, table, coding, forms),
        label_source=label_source,
        audit_list=audit_list(devkit, train),
        notes=(*notes, *devkit.notes(splits), *mask_names.notes(table.names)),
        mask_coding=coding,
        mask_forms=forms,
    )


def mask_source(
    devkit: Devkit,
    splits: Mapping[str, str],
    table: ClassTable,
    coding: MaskCoding | None,
    forms: dict[str, MaskForm],
) -> Callable[[str, tuple[int, int]], np.ndarray | None]:
    """The function of a `Source` that reads masks; what they look like goes into `forms`."""
    masks, reader = devkit.masks(splits), table.mask_reader(coding)

    def mask(image_id: str, size: tuple[int, int]) -> np.ndarray | None:
        if image_id in masks:
            return read_devkit_mask(image_id, masks[image_id], size, table, reader, forms)
        if splits[image_id] == "val":
            folder = devkit.root / "SegmentationClass"
            raise UserError(
                f"val image {image_id} has no mask in {folder}: put {image_id}.png there"
            )
        return None

    return mask


def check_labelled(
    train: Iterable[str],
    labels: Labels,
    label_source: str,
    keep_negatives: bool,
    on_problem: OnProblem,
) -> None:
    """Report train images without labels, or with `keep_negatives` those that nothing is said of.

    An image that the label source does not mention is not known to show only background.
    """
    for image_id in train:
        if image_id not in labels and keep_negatives:
            on_problem(
                f"train image {image_id} is not in {label_source}: put it there, without a class "
                "if it shows none, or unlist it"
            )
        elif not labels.get(image_id) and not keep_negatives:
            on_problem(
                f"train image {image_id} has no class in {label_source}: label it, unlist it, or "
                "set convert.keep_negatives"
            )


def read_devkit_mask(
    image_id: str,
    path: Path,
    size: tuple[int, int],
    table: ClassTable,
    reader: MaskReader,
    forms: dict[str, MaskForm],
) -> np.ndarray:
    """Read an image's mask (H, W) of class ids.

    What the file held is noted in `forms`, unless it is SBD's.
    """
    if path.suffix.lower() == ".mat":
        return table.mask_of(check_size(read_sbd_mask(path), size, path), path)
    mask, form = reader.read(path)
    mask = table.mask_of(check_size(mask, size, path), path)
    forms[image_id] = form
    return mask


def read_lists(
    devkit: Devkit, lists: Mapping[str, str | None], on_note: Callable[[str], None]
) -> dict[str, str]:
    """The split of every image id, in the order of the lists; no image has two splits.

    `on_note` is called with a line about a list that had to be made.
    """
    splits: dict[str, str] = {}
    for split in SPLITS:
        if (name := lists[split]) is None:
            continue
        for image_id in augmented.read_or_make(devkit.image_list(name), devkit.sbd, on_note):
            if image_id in splits:
                path = devkit.image_list(name)
                raise UserError(f"{image_id} in {path} is a {splits[image_id]} image: take it out")
            splits[image_id] = split
    return splits


def audit_list(devkit: Devkit, train: Sequence[str]) -> tuple[str, ...]:
    """The train images that are in VOC's own train list; none if there is no such list."""
    path = devkit.image_list("train")
    return tuple(sorted(set(read_list(path)) & set(train))) if path.is_file() else ()


def cue_labels(
    path: Path | None, input_list: Path | None, table: ClassTable, train: list[str]
) -> Labels:
    """Read the class ids of the train images from DSRG's localization_cues.pickle."""
    if path is None:
        raise UserError("label_source: cues needs --cue-pickle: name the file")
    labels = by_image(read_cue_labels(path), image_numbers(train, input_list), path)
    return {image_id: table.labels_of(ids, path) for image_id, ids in labels.items()}
