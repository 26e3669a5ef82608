"""A folder of images, their labels and an optional folder of masks as a source."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable, Labels, check_numbers, ids_in, in_order
from seedbed.data.file_names import (
    IMAGES,
    MASKS,
    MatchedFolder,
    describe_others,
    files_of,
    finder,
)
from seedbed.data.index import SPLITS
from seedbed.data.layouts.labels.class_folders import read_class_folders
from seedbed.data.layouts.labels.table import Row, Table, read_label_table
from seedbed.data.layouts.voc import read_cls_labels
from seedbed.data.mask_names import NO_NAMES, MaskNames
from seedbed.data.source import OnProblem, Source, check_size
from seedbed.data.text import compose, count_with_examples, is_image_id
from seedbed.formats.mask_coding import MaskForm, MaskReader
from seedbed.runtime.errors import UserError


def folder_source(
    images: Path,
    labels: Path | None = None,
    masks: Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    keep_negatives: bool,
    mask_names: MaskNames = NO_NAMES,
    on_problem: OnProblem,
) -> Source:
    """Read labels and find the files of the images; image ids are file stems.

    An image without a split is a train image; if none has one, images with a mask are val images.

    Args:
        images: the folder of images; without a table, of a folder for each class.
        labels: the table, see `read_label_table`; None: the folders are the labels.
        masks: the folder of masks `{id}.png`, with class ids 1..K, 0 background and 255 void.
        classes: the names of the classes in order; default: those of the labels, see `in_order`.
        keep_negatives: whether train images may have no class; they show only background.
        mask_names: what the masks hold, unless those ids.
        on_problem: called for every problem with a row.

    Raises:
        UserError: if a folder or the table cannot be read.

    """
    rows, notes = labelled_images(images, labels, classes, on_problem)
    mask_folder = MatchedFolder(masks, rows, MASKS) if masks else None
    mask_paths = mask_folder.paths if mask_folder else {}
    splits = splits_of(rows, mask_paths, on_problem)
    where = labels or images
    names = list(classes or class_names_in(rows, where))
    class_table = ClassTable.own(names)
    image_labels = class_ids_of(rows, names, splits, keep_negatives, on_problem)
    coding = mask_names.coding(names)
    if masks and not classes and coding is None:
        check_numbers(names, on_problem)
    reader, forms = MaskReader(len(names), coding=coding), {}
    return Source(
        splits=dict(sorted(splits.items(), key=lambda item: SPLITS.index(item[1]))),
        images={image_id: path for image_id, (_, path) in rows.items()},
        table=class_table,
        labels=image_labels,
        mask=lambda image_id, size: read_own_mask(
            image_id, size, mask_paths.get(image_id), reader, forms
        ),
        label_source=where.name,
        mask_coding=coding,
        mask_forms=forms,
        notes=(
            *notes,
            *(mask_folder.describe_strays("masks", f"row of {where}") if mask_folder else ()),
            *other_files(images, masks),
            *mask_names.notes(names),
        ),
    )


def class_ids_of(
    rows: Mapping[str, tuple[Row, Path]],
    names: Sequence[str],
    splits: Mapping[str, str],
    keep_negatives: bool,
    on_problem: OnProblem,
) -> Labels:
    """The class ids of each image; images of other splits than train are left out without any."""
    found = {
        image_id: class_ids(row, names, splits[image_id], keep_negatives, on_problem)
        for image_id, (row, _) in rows.items()
    }
    return {i: ids for i, ids in found.items() if ids or splits[i] == "train"}


def labelled_images(
    images: Path, labels: Path | None, classes: Sequence[str] | None, on_problem: OnProblem
) -> tuple[dict[str, tuple[Row, Path]], list[str]]:
    """The rows of the table with the images' paths, or those of the folders; and notes on them."""
    if labels:
        return rows_of_table(labels, images, classes, on_problem)
    if images.is_dir():
        return read_class_folders(images, IMAGES, on_problem)
    raise UserError(f"there is no folder {images}: put the data there, or name another")


def other_files(images: Path, masks: Path | None) -> list[str]:
    """Notes on files in the folders that are neither images nor masks."""
    of_masks = describe_others(masks, MASKS, "masks") if masks else ()
    return [*describe_others(images, IMAGES, "images"), *of_masks]


def class_names_in(rows: dict[str, tuple[Row, Path]], where: Path) -> list[str]:
    """The classes that rows name, see `in_order`; raises UserError if there is none."""
    names = in_order({name for row, _ in rows.values() for name in row.labels})
    if not names:
        raise UserError(f"{where} names no class: label the images")
    return names


def rows_of_table(
    labels: Path, images: Path, classes: Sequence[str] | None, on_problem: OnProblem
) -> tuple[dict[str, tuple[Row, Path]], list[str]]:
    """The row and the file of every image id of a table, and remarks."""
    photos = files_of(images, IMAGES)
    if labels.suffix.lower() == ".npy":
        table = rows_of_vectors(labels, photos, classes)
    else:
        table = read_label_table(labels, classes=classes, on_problem=on_problem)
    rows = identify(table.rows, photos, images, on_problem)
    unlisted = {path.name for path in photos} - {path.name for _, path in rows.values()}
    what = f"images in {images} have no row in {labels} and are left out"
    return rows, [*table.notes, *count_with_examples(what, unlisted)]


def rows_of_vectors(path: Path, photos: list[Path], classes: Sequence[str] | None) -> Table:
    """The rows of a cls_labels.npy, whose vectors need the names of the classes."""
    if not classes:
        raise UserError(f"{path} has no names of classes: list them in convert.classes")
    stems = {compose(photo.stem) for photo in photos}
    labels = read_cls_labels(path, ClassTable.own(list(classes)), stems)
    rows = [
        Row(f"{image_id} of {path}", image_id, tuple(classes[c - 1] for c in ids), "")
        for image_id, ids in labels.items()
    ]
    return Table(rows, [])


def identify(
    rows: list[Row], photos: list[Path], folder: Path, on_problem: OnProblem
) -> dict[str, tuple[Row, Path]]:
    """The row and the file of every image id; a row names the file with or without suffix.

    Several rows of an image are joined.
    """
    find = finder(photos)
    rows_by_id: dict[str, tuple[Row, Path]] = {}
    for row in rows:
        paths = find(row.image)
        image_id = compose(paths[0].stem) if paths else ""
        if len(paths) != 1:
            what = f"are {len(paths)} images" if paths else "is no image"
            on_problem(
                f"{row.place}: there {what} {row.image!r} in {folder}: correct it, or the folder"
            )
        elif not is_image_id(image_id):
            on_problem(f"{row.place}: {image_id!r} cannot be an image's id: rename the file")
        elif image_id in rows_by_id and paths[0] != rows_by_id[image_id][1]:
            on_problem(f"{row.place}: {_of_one_id(paths[0], *rows_by_id[image_id])}")
        elif image_id in rows_by_id and row.split != rows_by_id[image_id][0].split:
            on_problem(
                f"{row.place}: {image_id} has another split in {rows_by_id[image_id][0].place}: "
                "correct one of them"
            )
        elif image_id in rows_by_id:
            found = rows_by_id[image_id][0]
            labels = tuple(dict.fromkeys(found.labels + row.labels))
            rows_by_id[image_id] = replace(found, labels=labels), paths[0]
        else:
            rows_by_id[image_id] = row, paths[0]
    return rows_by_id


def _of_one_id(path: Path, row: Row, other: Path) -> str:
    """What is wrong with a row of the file `path`; `row` is of `other`, with the same id."""
    return (
        f"{path.name} and {other.name} in {row.place} have the same name without suffix, which is "
        "an image's id: rename one of the files"
    )


def splits_of(
    rows: dict[str, tuple[Row, Path]], masks: Container[str], on_problem: OnProblem
) -> dict[str, str]:
    """The split of every image id; `masks` are the ids that have a mask."""
    any_split = any(row.split for row, _ in rows.values())
    splits = {}
    for image_id, (row, _) in rows.items():
        splits[image_id] = row.split or ("val" if image_id in masks and not any_split else "train")
        if splits[image_id] == "val" and image_id not in masks:
            on_problem(f"{row.place}: val image {row.image} has no mask {image_id}.png: paint one")
    return splits


def class_ids(
    row: Row, names: list[str], split: str, keep_negatives: bool, on_problem: OnProblem
) -> tuple[int, ...]:
    """The sorted class ids of a row's labels, which start at 1."""
    for label in row.labels:
        if label not in names:
            on_problem(
                f"{row.place}: {label!r} is not one of the classes: correct it, or add it to them"
            )
    if split == "train" and not row.labels and not keep_negatives:
        on_problem(
            f"{row.place}: train image {row.image} has no label: name one, take it out, or set "
            "convert.keep_negatives"
        )
    return tuple(sorted({names.index(label) + 1 for label in row.labels if label in names}))


def read_own_mask(
    image_id: str,
    size: tuple[int, int],
    path: Path | None,
    reader: MaskReader,
    forms: dict[str, MaskForm],
) -> np.ndarray | None:
    """Read a mask (H, W) uint8 of ids 0, 1..K and 255; None without a path.

    What the file held is noted in `forms`. Raises UserError for another size or other ids.
    """
    if path is None:
        return None
    mask, form = reader.read(path)
    check_size(mask, size, path)
    if (highest := max(ids_in(mask), default=0)) > reader.count:
        raise UserError(
            f"mask {path} holds {highest}, and the classes are 1 to {reader.count}: write those, 0 "
            "for background and 255 for void; or say what it holds in convert.mask_values or "
            "mask_colours"
        )
    forms[image_id] = form
    return mask
