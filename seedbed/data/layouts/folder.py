"""A folder of images, a table of labels and an optional folder of masks as a source."""

from collections.abc import Container, Sequence
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable, ids_in
from seedbed.data.file_names import (
    IMAGES,
    MASKS,
    MatchedFolder,
    describe_others,
    files_of,
    finder,
)
from seedbed.data.index import SPLITS
from seedbed.data.layouts.label_table import Row, read_label_table
from seedbed.data.source import OnProblem, Source, check_size
from seedbed.data.text import compose, count_with_examples, is_image_id
from seedbed.formats.masks import read_mask
from seedbed.runtime.errors import UserError


def folder_source(
    images: Path,
    labels: Path,
    masks: Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    on_problem: OnProblem,
) -> Source:
    """Read a table of labels and find the files of its rows; image ids are file stems.

    A row without a split is a train image; if no row has one, images with a mask are val images.

    Args:
        images: the folder of images.
        labels: the table, see `read_label_table`.
        masks: the folder of masks `{id}.png`, with class ids 1..K, 0 background and 255 void.
        classes: the names of the classes in order; default: those of the table, alphabetically.
        on_problem: called for every problem with a row.

    Raises:
        UserError: if a folder or the table cannot be read.

    """
    photos = files_of(images, IMAGES)
    rows = identify(read_label_table(labels, on_problem), photos, images, on_problem)
    mask_folder = MatchedFolder(masks, rows, MASKS) if masks else None
    mask_paths = mask_folder.paths if mask_folder else {}
    splits = splits_of(rows, mask_paths, on_problem)
    names = list(classes or sorted({name for row, _ in rows.values() for name in row.labels}))
    class_table = ClassTable.own(names)
    ids_by_image = {
        image_id: class_ids(row, names, splits[image_id], on_problem)
        for image_id, (row, _) in rows.items()
    }

    unlisted = {path.name for path in photos} - {path.name for _, path in rows.values()}
    return Source(
        splits=dict(sorted(splits.items(), key=lambda item: SPLITS.index(item[1]))),
        images={image_id: path for image_id, (_, path) in rows.items()},
        table=class_table,
        labels={image_id: ids for image_id, ids in ids_by_image.items() if ids},
        mask=lambda image_id, size: read_own_mask(mask_paths.get(image_id), size, len(names)),
        label_source=labels.name,
        notes=(
            *count_with_examples(
                f"images in {images} have no row in {labels} and are left out", unlisted
            ),
            *(mask_folder.describe_strays("masks", f"row of {labels}") if mask_folder else ()),
            *describe_others(images, IMAGES, "images"),
            *(describe_others(masks, MASKS, "PNGs") if masks else ()),
        ),
    )


def identify(
    rows: list[Row], photos: list[Path], folder: Path, on_problem: OnProblem
) -> dict[str, tuple[Row, Path]]:
    """The row and the file of every image id; a row names the file with or without suffix."""
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
        elif image_id in rows_by_id:
            on_problem(f"{row.place}: {_of_one_id(paths[0], *rows_by_id[image_id])}")
        else:
            rows_by_id[image_id] = row, paths[0]
    return rows_by_id


def _of_one_id(path: Path, row: Row, other: Path) -> str:
    """What is wrong with a second row of an image id; the first is of the file `other`."""
    if path == other:
        return f"{path.name} is also in {row.place}: write its labels in one row"
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


def class_ids(row: Row, names: list[str], split: str, on_problem: OnProblem) -> tuple[int, ...]:
    """The sorted class ids of a row's labels, which start at 1."""
    for label in row.labels:
        if label not in names:
            on_problem(
                f"{row.place}: {label!r} is not one of the classes: correct it, or add it to them"
            )
    if split == "train" and not row.labels:
        on_problem(f"{row.place}: train image {row.image} has no label: name one, or take it out")
    return tuple(sorted({names.index(label) + 1 for label in row.labels if label in names}))


def read_own_mask(path: Path | None, size: tuple[int, int], classes: int) -> np.ndarray | None:
    """Read a mask (H, W) uint8 of ids 0, 1..`classes` and 255; None without a path.

    Raises UserError for another size or other ids.
    """
    if path is None:
        return None
    mask = check_size(read_mask(path), size, path)
    if (highest := max(ids_in(mask), default=0)) > classes:
        raise UserError(
            f"mask {path} holds {highest}, and the classes are 1 to {classes}: write those, 0 for "
            "background and 255 for void"
        )
    return mask
