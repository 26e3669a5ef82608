"""A PASCAL VOC devkit, with or without SBD, as a source of images, labels and masks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable, Labels
from seedbed.data.file_names import IMAGES, MASKS, MatchedFolder, files_of
from seedbed.data.index import SPLITS
from seedbed.data.layouts.voc import (
    read_annotation,
    read_cls_labels,
    read_source_mask,
    read_train_cls,
)
from seedbed.data.lists import image_numbers, read_list
from seedbed.data.source import OnProblem, Source, check_size
from seedbed.data.text import compose
from seedbed.formats.cue_pickle import by_image, read_cue_labels
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
        return ClassTable.of(
            set().union(*(read_annotation(annotations.of(image_id)) for image_id in train))
        )

    def labels(self, source: str, table: ClassTable, ids: Iterable[str]) -> Labels:
        """Read the class ids of images; images that the label source does not have are missing.

        `source`: "annotations" (XML), "cls_labels" (PSA's .npy) or "train_cls" (Group-WSSS').
        """
        if source == "cls_labels":
            return read_cls_labels(self._label_file("cls_labels.npy"), table)
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
    cue_pickle: Path | None = None,
    cue_list: Path | None = None,
    on_problem: OnProblem,
) -> Source:
    """Read a devkit's lists and labels.

    Args:
        devkit: where the files are.
        lists: the name of each split's list, or None.
        label_source: "cues", or see `Devkit.labels`.
        classes: the names of the classes in order; default: those in the train annotations.
        cue_pickle: DSRG's localization_cues.pickle, for label source "cues".
        cue_list: its input_list.txt.
        on_problem: called for every train image without a class.

    Raises:
        UserError: if a list or a label is wrong.

    """
    splits = read_lists(devkit, lists)
    train = [image_id for image_id, split in splits.items() if split == "train"]
    table = devkit.class_table(train, classes)
    if label_source == "cues":
        labels = cue_labels(cue_pickle, cue_list, table, train)
    else:
        labels = devkit.labels(label_source, table, splits)
    for image_id in train:
        if not labels.get(image_id):
            on_problem(
                f"train image {image_id} has no class in {label_source}: label it, or unlist it"
            )

    images, masks = devkit.images(splits), devkit.masks(splits)

    def mask(image_id: str, size: tuple[int, int]) -> np.ndarray | None:
        if splits[image_id] == "val" and image_id not in masks:
            folder = devkit.root / "SegmentationClass"
            raise UserError(
                f"val image {image_id} has no mask in {folder}: put {image_id}.png there"
            )
        return read_mask(masks[image_id], table, size) if image_id in masks else None

    return Source(
        splits=splits,
        images={image_id: images.of(image_id) for image_id in splits},
        table=table,
        labels=labels,
        mask=mask,
        label_source=label_source,
        audit_list=audit_list(devkit, train),
        notes=tuple(devkit.notes(splits)),
    )


def read_mask(path: Path, table: ClassTable, size: tuple[int, int]) -> np.ndarray:
    """Read an image's mask (H, W) of class ids."""
    return table.mask_of(check_size(read_source_mask(path), size, path), path)


def read_lists(devkit: Devkit, lists: Mapping[str, str | None]) -> dict[str, str]:
    """The split of every image id, in the order of the lists; no image has two splits."""
    splits: dict[str, str] = {}
    for split in SPLITS:
        path = devkit.image_list(name) if (name := lists[split]) else None
        for image_id in read_list(path) if path else ():
            if image_id in splits:
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
