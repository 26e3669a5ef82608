"""Folders of mask PNGs, `{id}.png`, in the data set's own class ids, both ways."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable
from seedbed.data.index import ImageEntry
from seedbed.data.layouts.voc import image_id_of, read_lines
from seedbed.data.source import same_size
from seedbed.formats.maps import Maps
from seedbed.formats.masks import read_mask, save_mask
from seedbed.runtime.atomic import atomic_folder
from seedbed.runtime.errors import UserError


def export_source_masks(masks_h5: Path, folder: Path, table: ClassTable) -> None:
    """Write every mask of a file of class ids as a PNG into a folder, which is replaced."""
    with Maps(masks_h5) as masks, atomic_folder(folder) as temporary:
        for image_id in masks:
            save_mask(temporary / f"{image_id}.png", table.source_mask(masks[image_id]))


def read_given_mask(folder: Path, entry: ImageEntry, table: ClassTable) -> np.ndarray:
    """Read an image's mask (H, W) uint8 in class ids, or raise UserError.

    The file may be a palette, grey or RGB PNG, of the image's own size. VOC's classes that are
    not in the index become void.
    """
    path = folder / f"{entry.id}.png"
    mask = same_size(read_mask(path), (entry.height, entry.width), path)
    return table.mask_of(mask, path)


def kept_images(entries: Sequence[ImageEntry], folder: Path, listing: Path | None) -> set[str]:
    """Give the images to train on: those of the list, or else those that have a mask there.

    A line of the list is SPSM's "/JPEGImages/id.jpg /proxy/id.png", or just "id.jpg" or "id"; its
    first name counts. Raises UserError if no image is left.
    """
    if listing:
        named = {image_id_of(line.split()[0]) for line in read_lines(listing)}
    else:
        named = {path.stem for path in folder.glob("*.png")}
    if not (kept := {entry.id for entry in entries} & named):
        raise UserError(f"{listing or folder} has none of the train images: name another")
    return kept
