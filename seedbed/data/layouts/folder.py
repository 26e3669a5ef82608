"""A folder of images with a table of labels, and masks if there are any, as a source."""

from collections.abc import Container, Iterable, Sequence
from pathlib import Path

import numpy as np

from seedbed.data.classes import ids_in
from seedbed.data.index import SPLITS
from seedbed.data.layouts.label_table import Row, read_label_table
from seedbed.data.source import Complain, Source, is_image_id, nfc, own_classes, same_size, some
from seedbed.formats.masks import read_mask
from seedbed.runtime.errors import UserError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def folder_source(
    images: Path,
    table: Path,
    masks: Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    complain: Complain,
) -> Source:
    """Read a table of labels and find the files of its rows; an id is a file's stem.

    `classes` names the classes in order, else they are those of the table in alphabetical order;
    masks, `{id}.png`, hold 1..K in that order, 0 and 255. A row without a split is a train image;
    if none has a split, the images with a mask are val images. Raises UserError for a folder or a
    table that cannot be read; whatever is wrong with a row is complained about.
    """
    photos = files_of(images, IMAGES)
    painted = {nfc(path.stem): path for path in files_of(masks, (".png",))} if masks else {}
    rows = identify(read_label_table(table, complain), photos, images, complain)
    splits = splits_of({image_id: row for image_id, (row, _) in rows.items()}, painted, complain)
    names = list(classes or sorted({name for row, _ in rows.values() for name in row.labels}))
    numbered = own_classes(names)
    labels = {
        image_id: class_ids(row, names, splits[image_id], complain)
        for image_id, (row, _) in rows.items()
    }

    def mask(image_id: str, size: tuple[int, int]) -> np.ndarray | None:
        return own_mask(painted[image_id], size, len(names)) if image_id in painted else None

    unlisted = {path.name for path in photos} - {path.name for _, path in rows.values()}
    strays = [path.name for image_id, path in painted.items() if image_id not in rows]
    return Source(
        splits=dict(sorted(splits.items(), key=lambda item: SPLITS.index(item[1]))),
        images={image_id: path for image_id, (_, path) in rows.items()},
        table=numbered,
        labels={image_id: found for image_id, found in labels.items() if found},
        mask=mask,
        label_source=table.name,
        notes=(
            *some(f"images in {images} have no row in {table} and are left out", unlisted),
            *some(f"masks in {masks} belong to no row of {table}", strays),
        ),
    )


def files_of(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """Give a folder's visible files with one of the suffixes, in either case, sorted by name."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: put the data there, or name another")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and path.name[0] != "." and path.is_file()
    )


def identify(
    rows: list[Row], photos: list[Path], folder: Path, complain: Complain
) -> dict[str, tuple[Row, Path]]:
    """Give the row and the file of every image id; a row names the file or its stem."""
    named: dict[str, list[Path]] = {}
    for path in photos:
        for name in (path.name, path.stem):
            named.setdefault(nfc(name), []).append(path)
    found: dict[str, tuple[Row, Path]] = {}
    for row in rows:
        paths = named.get(row.image, [])
        image_id = nfc(paths[0].stem) if paths else ""
        if len(paths) != 1:
            what = f"are {len(paths)} images" if paths else "is no image"
            complain(f"{row.place}: there {what} {row.image!r} in {folder}: mend it, or the folder")
        elif not is_image_id(image_id):
            complain(f"{row.place}: {image_id!r} cannot be an image's id: rename the file")
        elif image_id in found:
            complain(f"{row.place}: {image_id} stands in {found[image_id][0].place}: join them")
        else:
            found[image_id] = row, paths[0]
    return found


def splits_of(rows: dict[str, Row], painted: Container[str], complain: Complain) -> dict[str, str]:
    """Give the split of every image id; `painted` holds the ids that have a mask."""
    stated = any(row.split for row in rows.values())
    splits = {}
    for image_id, row in rows.items():
        splits[image_id] = row.split or ("val" if image_id in painted and not stated else "train")
        if splits[image_id] == "val" and image_id not in painted:
            complain(f"{row.place}: val image {row.image} has no mask {image_id}.png: paint one")
    return splits


def class_ids(row: Row, names: list[str], split: str, complain: Complain) -> tuple[int, ...]:
    """Give the sorted class ids, from 1, of a row's labels."""
    for label in row.labels:
        if label not in names:
            complain(f"{row.place}: {label!r} is none of the classes: mend it, or add it to them")
    if split == "train" and not row.labels:
        complain(f"{row.place}: train image {row.image} has no label: name one, or take it out")
    return tuple(sorted({names.index(label) + 1 for label in row.labels if label in names}))


def own_mask(path: Path, size: tuple[int, int], classes: int) -> np.ndarray:
    """Read a mask (H, W) uint8 of 0, 1..`classes` and 255; raises UserError for another value."""
    mask = same_size(read_mask(path), size, path)
    if (over := max(ids_in(mask), default=0)) > classes:
        raise UserError(
            f"mask {path} holds {over}, and the classes are 1 to {classes}: write those, 0 for "
            "background and 255 for void"
        )
    return mask
