"""Folders of mask PNGs `{id}.png` in the data set's own class ids: reading and writing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable
from seedbed.data.file_names import MASKS, MatchedFolder
from seedbed.data.index import ImageEntry, Index
from seedbed.data.lists import image_id_in, read_lines
from seedbed.data.mask_check import only_void, palette_problems
from seedbed.data.mask_numbers import misnumbered
from seedbed.data.source import check_size, threaded_map
from seedbed.data.text import count_with_examples
from seedbed.formats.maps import Maps
from seedbed.formats.mask_coding import MaskCoding, MaskForm
from seedbed.formats.masks import save_mask, save_values
from seedbed.formats.palette import VOC_PALETTE
from seedbed.runtime.atomic import atomic_folder
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress


def export_source_masks(
    masks_h5: Path, folder: Path, table: ClassTable, coding: MaskCoding | None = None
) -> None:
    """Write every mask of an HDF5 file of class ids as a PNG; the folder is replaced.

    The PNGs hold the data set's own ids or, with `coding`, its own values or colours, so that they
    can be mended and read again.
    """
    with Maps(masks_h5) as masks, atomic_folder(folder) as temporary:
        for image_id in masks:
            save_own_mask(temporary / f"{image_id}.png", table.source_mask(masks[image_id]), coding)


def mask_folder(folder: Path, entries: Iterable[ImageEntry]) -> MatchedFolder:
    """A folder of masks whose files are those of the images."""
    return MatchedFolder(folder, [entry.id for entry in entries], MASKS)


def save_own_mask(path: Path, mask: np.ndarray, coding: MaskCoding | None) -> None:
    """Write a mask (H, W) uint8 of source ids in the user's own values or colours, if any."""
    if coding and coding.values:
        save_values(path, coding.value_of[mask])
    else:
        save_mask(path, mask, VOC_PALETTE if coding is None else coding.colour_of)


def read_given_masks(
    folder: Path | MatchedFolder, entries: Sequence[ImageEntry], index: Index, workers: int
) -> Iterator[np.ndarray]:
    """Read the masks of images as class ids (H, W) uint8, in the order of `entries`; by threads.

    The files `{id}.png` hold what the data set's own masks hold: its ids, or the values or colours
    that its config names. VOC classes that are not in the index become void.

    Raises:
        UserError: if a file is missing or broken, or has another size or other values; at the end,
            if the masks together cannot be right (see `mask_check` and `mask_numbers`).

    """
    if isinstance(folder, Path):
        folder = mask_folder(folder, entries)
    read = partial(_read, folder=folder, table=index.table, coding=index.mask_coding)
    forms = {}
    found = progress(threaded_map(read, entries, workers), total=len(entries))
    for entry, (mask, form) in zip(entries, found, strict=True):
        forms[entry.id] = form
        yield mask
    for problem in _problems(forms, entries, index):
        raise UserError(problem)


def _problems(
    forms: Mapping[str, MaskForm], entries: Iterable[ImageEntry], index: Index
) -> list[str]:
    table = index.table
    problems = [
        *only_void(forms.values(), index.classes[0].name),
        *palette_problems(forms.values()),
    ]
    if index.mask_coding:
        return problems
    ids = {entry.id: table.source_ids[list(entry.labels)].tolist() for entry in entries}
    labels = {} if index.is_shuffled else ids
    return problems + misnumbered(forms, labels, table.own_names, given=True)


def _read(
    entry: ImageEntry,
    *,
    folder: Path | MatchedFolder,
    table: ClassTable,
    coding: MaskCoding | None,
) -> tuple[np.ndarray, MaskForm]:
    path = folder / f"{entry.id}.png"
    mask, form = table.mask_reader(coding).read(path)
    return table.mask_of(check_size(mask, (entry.height, entry.width), path), path), form


def kept_images(
    entries: Sequence[ImageEntry], folder: Path | MatchedFolder, listing: Path | None
) -> set[str]:
    """The ids of the images to train on; prints which images, masks and lines are left out.

    Args:
        entries: all train images.
        folder: the folder of masks; without a list, images with a mask are kept.
        listing: a list of images to keep, with SPSM's lines "/JPEGImages/id.jpg /proxy/id.png" or
            lines "id.jpg" or "id".

    Raises:
        UserError: if no image is left.

    """
    ids = {entry.id for entry in entries}
    if listing:
        named = {image_id_in(line, ids) for line in read_lines(listing)}
        kept = ids & named
        notes = count_with_examples(f"lines of {listing} name no train image", named - ids)
    else:
        masks = folder if isinstance(folder, MatchedFolder) else mask_folder(folder, entries)
        kept, notes = set(masks.paths), masks.describe_strays("masks", "train image")
    if not kept:
        raise UserError(f"{listing or folder} has none of the train images: name another")
    notes += count_with_examples("train images are left out of this training", ids - kept)
    print(*notes, sep="\n", end="\n" if notes else "")
    return kept
