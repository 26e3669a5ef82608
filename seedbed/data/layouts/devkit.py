"""A PASCAL VOC devkit (and SBD) as a source of images, labels and masks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable
from seedbed.data.index import SPLITS
from seedbed.data.layouts.voc import Devkit, Labels, image_numbers, read_list, read_source_mask
from seedbed.data.source import Complain, Source, same_size
from seedbed.formats.cue_pickle import by_image, read_cue_labels
from seedbed.runtime.errors import UserError


def devkit_source(
    devkit: Devkit,
    *,
    lists: Mapping[str, str | None],
    label_source: str,
    classes: Sequence[str] | None = None,
    cue_pickle: Path | None = None,
    cue_list: Path | None = None,
    complain: Complain,
) -> Source:
    """Read a devkit's lists and labels.

    `lists` names the list of each split, or None; `classes` the classes in order, else those that
    the train annotations name. Raises UserError for a list or a label that is wrong, and complains
    about train images without a class.
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
            complain(
                f"train image {image_id} has no class in {label_source}: label it, or unlist it"
            )

    def mask(image_id: str, size: tuple[int, int]) -> np.ndarray | None:
        path = devkit.mask(image_id, splits[image_id])
        if path is None and splits[image_id] == "val":
            where = devkit.root / "SegmentationClass"
            raise UserError(
                f"val image {image_id} has no mask in {where}: put {image_id}.png there"
            )
        if path is None:
            return None
        return table.mask_of(same_size(read_source_mask(path), size, path), path)

    return Source(
        splits=splits,
        images={image_id: devkit.image(image_id) for image_id in splits},
        table=table,
        labels=labels,
        mask=mask,
        label_source=label_source,
        audit_list=audit_list(devkit, train),
    )


def read_lists(devkit: Devkit, lists: Mapping[str, str | None]) -> dict[str, str]:
    """Give the split of every image id, in the order of the lists; no image has two splits."""
    splits: dict[str, str] = {}
    for split in SPLITS:
        path = devkit.image_list(name) if (name := lists[split]) else None
        for image_id in read_list(path) if path else ():
            if image_id in splits:
                raise UserError(f"{image_id} in {path} is a {splits[image_id]} image: take it out")
            splits[image_id] = split
    return splits


def audit_list(devkit: Devkit, train: Sequence[str]) -> tuple[str, ...]:
    """Give the train images that are on VOC's own train list; none if there is no such list."""
    path = devkit.image_list("train")
    return tuple(sorted(set(read_list(path)) & set(train))) if path.is_file() else ()


def cue_labels(
    path: Path | None, listing: Path | None, table: ClassTable, train: list[str]
) -> Labels:
    """Read the class ids of the train images from the file of the localisation cues."""
    if path is None:
        raise UserError("label_source: cues needs --cue-pickle: name the file")
    found = by_image(read_cue_labels(path), image_numbers(train, listing), path)
    return {image_id: table.labels_of(ids, path) for image_id, ids in found.items()}
