"""Folders of mask PNGs `{id}.png` in the data set's own class ids: reading and writing."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable
from seedbed.data.file_names import MASKS, MatchedFolder
from seedbed.data.index import ImageEntry
from seedbed.data.lists import image_id_in, read_lines
from seedbed.data.source import check_size
from seedbed.data.text import count_with_examples
from seedbed.formats.maps import Maps
from seedbed.formats.masks import read_mask, save_mask
from seedbed.runtime.atomic import atomic_folder
from seedbed.runtime.errors import UserError


def export_source_masks(masks_h5: Path, folder: Path, table: ClassTable) -> None:
    """Write every mask of an HDF5 file of class ids as a PNG; the folder is replaced."""
    with Maps(masks_h5) as masks, atomic_folder(folder) as temporary:
        for image_id in masks:
            save_mask(temporary / f"{image_id}.png", table.source_mask(masks[image_id]))


def mask_folder(folder: Path, entries: Iterable[ImageEntry]) -> MatchedFolder:
    """A folder of masks whose files are those of the images."""
    return MatchedFolder(folder, [entry.id for entry in entries], MASKS)


def read_given_mask(
    folder: Path | MatchedFolder, entry: ImageEntry, table: ClassTable
) -> np.ndarray:
    """Read an image's mask as class ids (H, W) uint8.

    The file is a palette, grey or RGB PNG. VOC classes that are not in `table` become void.

    Raises:
        UserError: if the file is missing or broken, or has another size or other ids.

    """
    path = folder / f"{entry.id}.png"
    mask = check_size(read_mask(path), (entry.height, entry.width), path)
    return table.mask_of(mask, path)


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
