"""Folders of mask PNGs `{id}.png` in the data set's own class ids: reading and writing."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable
from seedbed.data.index import ImageEntry
from seedbed.data.lists import image_id_of, read_lines
from seedbed.data.source import check_size
from seedbed.formats.maps import Maps
from seedbed.formats.masks import read_mask, save_mask
from seedbed.runtime.atomic import atomic_folder
from seedbed.runtime.errors import UserError


def export_source_masks(masks_h5: Path, folder: Path, table: ClassTable) -> None:
    """Write every mask of an HDF5 file of class ids as a PNG; the folder is replaced."""
    with Maps(masks_h5) as masks, atomic_folder(folder) as temporary:
        for image_id in masks:
            save_mask(temporary / f"{image_id}.png", table.source_mask(masks[image_id]))


def read_given_mask(folder: Path, entry: ImageEntry, table: ClassTable) -> np.ndarray:
    """Read an image's mask as class ids (H, W) uint8.

    The file is a palette, grey or RGB PNG. VOC classes that are not in `table` become void.

    Raises:
        UserError: if the file is missing or broken, or has another size or other ids.

    """
    path = folder / f"{entry.id}.png"
    mask = check_size(read_mask(path), (entry.height, entry.width), path)
    return table.mask_of(mask, path)


def kept_images(entries: Sequence[ImageEntry], folder: Path, listing: Path | None) -> set[str]:
    """The ids of the images to train on.

    Args:
        entries: all train images.
        folder: the folder of masks; without a list, images with a mask are kept.
        listing: a list of images to keep, with SPSM's lines "/JPEGImages/id.jpg /proxy/id.png" or
            lines "id.jpg" or "id".

    Raises:
        UserError: if no image is left.

    """
    if listing:
        ids = {image_id_of(line.split()[0]) for line in read_lines(listing)}
    else:
        ids = {path.stem for path in folder.glob("*.png")}
    if not (kept := {entry.id for entry in entries} & ids):
        raise UserError(f"{listing or folder} has none of the train images: name another")
    return kept
