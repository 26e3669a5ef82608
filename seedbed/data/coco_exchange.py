"""COCO's annotations made from masks, and masks drawn from a file of them."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from seedbed.data.annotation_names import AnnotationNames, ImageNames
from seedbed.data.index import ImageEntry, Index
from seedbed.data.layouts.coco_file import read_instances
from seedbed.data.layouts.coco_images import AnnotatedImage
from seedbed.data.layouts.coco_masks import draw_mask
from seedbed.formats.palette import VOID
from seedbed.runtime.errors import UserError


def coco_content(
    masks: Iterable[tuple[ImageEntry, np.ndarray]], index: Index
) -> dict[str, list[dict[str, Any]]]:
    """What a file of instances holds: for each image and class one region of run lengths.

    Background has none. Void is a category of its own, `__ignore__`, if there is any.

    Args:
        masks: images and their masks of class ids, (H, W) uint8.
        index: the data set, whose own class ids are the categories' ids.

    """
    names = AnnotationNames(index.class_names[1:]).names
    files, images, annotations, used = ImageNames(index), [], [], set()
    for number, (entry, mask) in enumerate(masks, 1):
        size = dict(zip(("height", "width"), mask.shape, strict=True))
        images.append({"id": number, "file_name": files.name(entry), **size})
        for value in np.unique(mask[mask > 0]).tolist():
            used.add(value)
            region = _region(mask == value)
            category = int(index.table.source_mask(np.uint8([[value]]))[0, 0])
            head = {"id": len(annotations) + 1, "image_id": number, "category_id": category}
            annotations.append({**head, "iscrowd": 0, **region})
    ids = index.table.source_ids.tolist()
    categories = [
        {"id": source_id, "name": names[k], "supercategory": ""}
        for k, source_id in enumerate(ids)
        if k
    ]
    if VOID in used:
        categories.append({"id": VOID, "name": names[VOID], "supercategory": ""})
    return {"images": images, "categories": categories, "annotations": annotations}


def _region(pixels: np.ndarray) -> dict[str, Any]:
    """The run lengths, area and bounding box of a region."""
    runs = coco_mask.encode(np.asfortranarray(pixels, dtype=np.uint8))
    segmentation = {"size": list(pixels.shape), "counts": runs["counts"].decode("ascii")}
    box = coco_mask.toBbox(runs).tolist()
    return {"segmentation": segmentation, "area": int(coco_mask.area(runs)), "bbox": box}


def read_coco_masks(
    path: Path, index: Index, data: Path
) -> Iterator[tuple[ImageEntry, np.ndarray]]:
    """The masks of class ids that a file of instances gives, of all its images.

    Of regions that overlap the smaller lies on top. An image without any is background.

    Args:
        path: the file.
        index: the data set.
        data: the folder that paths in the index are relative to, see `draw_mask`.

    Raises:
        UserError: if the file cannot be read, or names an image or a class that the data set has
            not, or a region is broken or missing.

    """
    content = read_instances(path)
    names = AnnotationNames(index.class_names[1:])
    categories = {info.id: info.name for info in content.categories}
    files = ImageNames(index)
    photos = {files.entry(photo.file_name, path).id: photo for photo in content.images}
    objects = {photo.id: [] for photo in photos.values()}
    if len(objects) < len(content.images):
        raise UserError(f"{path} has an image twice: take one out")
    for number, instance in enumerate(content.annotations):
        if instance.image_id not in objects or instance.category_id not in categories:
            raise UserError(
                f"annotations.{number} of {path} is of no image or category: correct it"
            )
        if not instance.segmentation:
            raise UserError(f"annotations.{number} of {path} has no segmentation: add it")
        name = categories[instance.category_id]
        names.check(name, path)
        objects[instance.image_id].append((name, instance))
    for image_id, photo in photos.items():
        entry = index.entry(image_id)
        image = AnnotatedImage(photo, data / entry.path, path, entry.split, objects[photo.id])
        yield entry, draw_mask(image, names.ids, (entry.height, entry.width))
