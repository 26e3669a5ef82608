"""A PASCAL VOC devkit, with or without SBD, as a source of images, labels and masks."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable, Labels, check_numbers
from seedbed.data.index import SPLITS
from seedbed.data.layouts.voc import (
    read_annotation,
    read_cls_labels,
    read_source_mask,
    read_train_cls,
)
from seedbed.data.lists import image_numbers, read_list
from seedbed.data.source import OnProblem, Source, check_size
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

    def image(self, image_id: str) -> Path:
        """The path of an image."""
        return self.root / "JPEGImages" / f"{image_id}.jpg"

    def image_list(self, name: str) -> Path:
        """The path of a segmentation list."""
        return self.root / "ImageSets" / "Segmentation" / f"{name}.txt"

    def annotation(self, image_id: str) -> Path:
        """The path of an image's annotation."""
        return self.root / "Annotations" / f"{image_id}.xml"

    def mask(self, image_id: str, split: str) -> Path | None:
        """The path of an image's mask, or None.

        VOC's own masks are preferred to SBD's, which are coarser, have no void and are only used
        for train images.
        """
        train = split == "train"
        folder = self.train_masks if train and self.train_masks else "SegmentationClass"
        paths = [self.root / folder / f"{image_id}.png"]
        if train and not self.train_masks and self.sbd:
            paths.append(self.sbd / "cls" / f"{image_id}.mat")
        return next((path for path in paths if path.is_file()), None)

    def class_table(self, train: Iterable[str], chosen: Sequence[str] | None) -> ClassTable:
        """The chosen classes or, without a choice, those in the train images' annotations."""
        if chosen is not None:
            return ClassTable.of(chosen, keep_order=True)
        if not (self.root / "Annotations").is_dir():
            raise UserError(f"there is no folder {self.root / 'Annotations'}: name the classes")
        return ClassTable.of(
            set().union(*(read_annotation(self.annotation(image_id)) for image_id in train))
        )

    def labels(self, source: str, table: ClassTable, ids: Iterable[str]) -> Labels:
        """Read the class ids of images; images that the label source does not have are missing.

        `source`: "annotations" (XML), "cls_labels" (PSA's .npy) or "train_cls" (Group-WSSS').
        """
        if source == "cls_labels":
            return read_cls_labels(self._label_file("cls_labels.npy"), table, set(ids))
        if source == "train_cls":
            return read_train_cls(self._label_file("train_cls.txt"), table)
        paths = {image_id: self.annotation(image_id) for image_id in ids}
        return {
            image_id: table.labels_named(read_annotation(path), path)
            for image_id, path in paths.items()
            if path.is_file()
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
    if classes is None:
        check_numbers([info.name for info in table.classes], on_problem)
    check_labelled(train, labels, label_source, keep_negatives, on_problem)
    return Source(
        splits=splits,
        images={image_id: devkit.image(image_id) for image_id in splits},
        table=table,
        labels=labels,
        mask=lambda image_id, size: read_mask(devkit, table, image_id, splits[image_id], size),
        label_source=label_source,
        audit_list=audit_list(devkit, train),
    )


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


def read_mask(
    devkit: Devkit, table: ClassTable, image_id: str, split: str, size: tuple[int, int]
) -> np.ndarray | None:
    """Read an image's mask (H, W) of class ids; None if a train or test image has no mask."""
    path = devkit.mask(image_id, split)
    if path is None and split == "val":
        folder = devkit.root / "SegmentationClass"
        raise UserError(f"val image {image_id} has no mask in {folder}: put {image_id}.png there")
    if path is None:
        return None
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
