"""A folder of images, a table of labels and an optional folder of masks as a source."""

from collections.abc import Container, Iterable, Sequence
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable, ids_in
from seedbed.data.index import SPLITS
from seedbed.data.layouts.label_table import Row, read_label_table
from seedbed.data.mask_names import NO_NAMES, MaskNames
from seedbed.data.source import OnProblem, Source, check_size
from seedbed.data.text import compose, count_with_examples, is_image_id
from seedbed.formats.mask_coding import MaskForm, MaskReader
from seedbed.formats.mask_files import MASK_SUFFIXES
from seedbed.runtime.errors import UserError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def folder_source(
    images: Path,
    labels: Path,
    masks: Path | None = None,
    *,
    classes: Sequence[str] | None = None,
    mask_names: MaskNames = NO_NAMES,
    on_problem: OnProblem,
) -> Source:
    """Read a table of labels and find the files of its rows; image ids are file stems.

    A row without a split is a train image; if no row has one, images with a mask are val images.

    Args:
        images: the folder of images.
        labels: the table, see `read_label_table`.
        masks: the folder of masks `{id}.png`, with class ids 1..K, 0 background and 255 void.
        classes: the names of the classes in order; default: those of the table, alphabetically.
        mask_names: what the masks hold, unless those ids.
        on_problem: called for every problem with a row.

    Raises:
        UserError: if a folder or the table cannot be read.

    """
    photos = files_of(images, IMAGES)
    mask_files = files_of(masks, MASK_SUFFIXES) if masks else []
    mask_paths = {compose(path.stem): path for path in mask_files}
    rows = identify(read_label_table(labels, on_problem), photos, images, on_problem)
    splits = splits_of(rows, mask_paths, on_problem)
    names = list(classes or sorted({name for row, _ in rows.values() for name in row.labels}))
    class_table = ClassTable.own(names)
    ids_by_image = {
        image_id: class_ids(row, names, splits[image_id], on_problem)
        for image_id, (row, _) in rows.items()
    }

    unlisted = {path.name for path in photos} - {path.name for _, path in rows.values()}
    coding = mask_names.coding(names)
    reader, forms = MaskReader(len(names), coding=coding), {}
    strays = [path.name for image_id, path in mask_paths.items() if image_id not in rows]
    return Source(
        splits=dict(sorted(splits.items(), key=lambda item: SPLITS.index(item[1]))),
        images={image_id: path for image_id, (_, path) in rows.items()},
        table=class_table,
        labels={image_id: ids for image_id, ids in ids_by_image.items() if ids},
        mask=lambda image_id, size: read_own_mask(
            image_id, size, mask_paths.get(image_id), reader, forms
        ),
        label_source=labels.name,
        mask_coding=coding,
        mask_forms=forms,
        notes=(
            *count_with_examples(
                f"images in {images} have no row in {labels} and are left out", unlisted
            ),
            *count_with_examples(f"masks in {masks} belong to no row of {labels}", strays),
            *mask_names.notes(names),
        ),
    )


def files_of(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """A folder's visible files with one of the suffixes, in any case, sorted by name."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: put the data there, or name another")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and path.name[0] != "." and path.is_file()
    )


def identify(
    rows: list[Row], photos: list[Path], folder: Path, on_problem: OnProblem
) -> dict[str, tuple[Row, Path]]:
    """The row and the file of every image id; a row names the file with or without suffix."""
    by_name: dict[str, list[Path]] = {}
    for path in photos:
        for name in (path.name, path.stem):
            by_name.setdefault(compose(name), []).append(path)
    rows_by_id: dict[str, tuple[Row, Path]] = {}
    for row in rows:
        paths = by_name.get(row.image, [])
        image_id = compose(paths[0].stem) if paths else ""
        if len(paths) != 1:
            what = f"are {len(paths)} images" if paths else "is no image"
            on_problem(
                f"{row.place}: there {what} {row.image!r} in {folder}: correct it, or the folder"
            )
        elif not is_image_id(image_id):
            on_problem(f"{row.place}: {image_id!r} cannot be an image's id: rename the file")
        elif image_id in rows_by_id:
            on_problem(
                f"{row.place}: {image_id} is also in {rows_by_id[image_id][0].place}: join them"
            )
        else:
            rows_by_id[image_id] = row, paths[0]
    return rows_by_id


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
