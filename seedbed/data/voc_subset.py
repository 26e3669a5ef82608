"""Some images and classes of PASCAL VOC and SBD at a smaller size, as a devkit of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.data.classes import VOC_CLASSES, ClassTable
from seedbed.data.images import read_image
from seedbed.data.layouts.devkit import Devkit
from seedbed.data.layouts.voc import read_annotation, read_sbd_mask
from seedbed.data.layouts.voc_writer import VocObject, write_annotation, write_list
from seedbed.data.source import check_size
from seedbed.formats.masks import read_mask, save_mask
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import ordered_map

TRAIN_MASKS = "SegmentationClassAug"  # VOC's own masks where there are some, else SBD's
MASKS = {"train": TRAIN_MASKS, "val": "SegmentationClass"}
QUALITY = 82  # of the JPEGs


@dataclass(frozen=True)
class Original:
    """An image of the subset: its id, split and the files of VOC and SBD."""

    id: str
    split: str
    image: Path
    annotation: Path
    mask: Path


def find_originals(devkit: Devkit, lists: Mapping[str, Sequence[str]]) -> list[Original]:
    """The files of the images listed by split (train, val); UserError if one is missing."""
    splits = {image_id: split for split, ids in lists.items() for image_id in ids}
    images, annotations = devkit.images(splits), devkit.annotations(splits)
    masks = devkit.masks(splits)
    for image_id, split in splits.items():
        if image_id not in masks:
            source = "SBD nor in SegmentationClass" if split == "train" else "SegmentationClass"
            raise UserError(f"{split} image {image_id} has no mask in {source}: get the whole set")
    return [
        Original(i, split, images.of(i), annotations.of(i), masks[i]) for i, split in splits.items()
    ]


def write_subset(
    folder: Path, originals: Sequence[Original], classes: Sequence[str], side: int, workers: int
) -> int:
    """Write the devkit of a subset.

    Images are resized to `side` pixels on their longer side (Lanczos), masks likewise by nearest
    neighbour. Of the annotations the names of the given classes are kept, once each. Mask pixels of
    other classes become void. Masks of train images go to SegmentationClassAug.

    Args:
        folder: an empty folder.
        originals: the images.
        classes: names of VOC classes.
        side: in pixels.
        workers: number of processes.

    Returns:
        The number of images that show other classes as well, by annotation or mask.

    """
    table = ClassTable.of(classes)
    if table.names != VOC_CLASSES:
        raise UserError(f"classes: {', '.join(classes)} are not all VOC's: name some of VOC's")
    for name in ("JPEGImages", "Annotations", *MASKS.values()):
        (folder / name).mkdir(parents=True)
    for split, name in (("train", "train_aug"), ("val", "val")):
        ids = [original.id for original in originals if original.split == split]
        write_list(folder / "ImageSets" / "Segmentation" / f"{name}.txt", ids)
    work = partial(write_image, folder=folder, table=table, side=side)
    return sum(ordered_map(work, originals, workers))


def write_image(original: Original, *, folder: Path, table: ClassTable, side: int) -> bool:
    """Write an image, its mask and its annotation; whether it shows other classes as well."""
    pixels = read_image(original.image)
    mask = check_size(read_original_mask(original.mask), pixels.shape[:2], original.mask)
    names = read_annotation(original.annotation)
    wanted = [info.name for info in table.classes if info.name in names]
    if not wanted:
        raise UserError(
            f"{original.annotation} names none of {', '.join(i.name for i in table.classes)}: "
            "give VOC 2012's own file"
        )
    kept = table.source_mask(table.mask_of(mask, original.mask))
    size = reduced(pixels.shape[1], pixels.shape[0], side)
    photo = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    photo.save(folder / "JPEGImages" / f"{original.id}.jpg", quality=QUALITY)
    small = Image.fromarray(kept).resize(size, Image.Resampling.NEAREST)
    save_mask(folder / MASKS[original.split] / f"{original.id}.png", np.asarray(small))
    path = folder / "Annotations" / f"{original.id}.xml"
    write_annotation(path, size, map(VocObject, wanted))
    return len(wanted) < len(names) or not np.array_equal(kept, mask)


def read_original_mask(path: Path) -> np.ndarray:
    """A mask of VOC or SBD as source ids (H, W) uint8."""
    return read_sbd_mask(path) if path.suffix.lower() == ".mat" else read_mask(path)


def reduced(width: int, height: int, side: int) -> tuple[int, int]:
    """Width and height of an image whose longer side has become `side`; the other is rounded."""
    longer = max(width, height)
    return tuple(max(1, round(length * side / longer)) for length in (width, height))
