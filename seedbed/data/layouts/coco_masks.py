"""Masks of COCO's objects."""

from collections.abc import Mapping

import numpy as np

from seedbed.data.images import read_orientation, turn
from seedbed.data.layouts.coco_images import AnnotatedImage
from seedbed.data.layouts.regions import region_of
from seedbed.formats.palette import VOID
from seedbed.runtime.errors import UserError

SIDEWAYS = (5, 6, 7, 8)  # values of EXIF's orientation that exchange height and width


def draw_mask(
    image: AnnotatedImage, ids: Mapping[str, int], size: tuple[int, int]
) -> np.ndarray | None:
    """Draw a mask (H, W) of class ids; None if an object of a train image has no segmentation.

    Smaller objects are drawn over larger ones, and all objects over crowds. Crowds and classes that
    are not in `ids` are void. If the file states the size before the image is turned as its EXIF
    data say, its objects are drawn so and turned with the image.

    Raises:
        UserError: if the image's size differs from the file's, a segmentation is broken, or an
            object of a val image has none.

    """
    drawn, orientation = _drawing_size(image, size)
    complete = all(instance.segmentation for _, instance in image.objects)
    if not complete and image.split == "val":
        raise UserError(
            f"val image {image.path.name} has an object without segmentation in {image.file}: "
            "add it"
        )
    if not complete:
        return None
    mask = _paint(image, ids, drawn)
    return turn(mask, orientation) if orientation else mask


def _drawing_size(
    image: AnnotatedImage, size: tuple[int, int]
) -> tuple[tuple[int, int], int | None]:
    """The size (H, W) in which objects are drawn, and how the mask is to be turned, as in EXIF."""
    photo = image.photo
    stated = (photo.height or size[0], photo.width or size[1])
    if stated == size:
        return size, None
    if stated == size[::-1] and (orientation := read_orientation(image.path)) in SIDEWAYS:
        return stated, orientation
    raise UserError(f"image {image.path} is {size}, and {stated} in {image.file}: correct either")


def _paint(image: AnnotatedImage, ids: Mapping[str, int], size: tuple[int, int]) -> np.ndarray:
    layers = []
    for name, instance in image.objects:
        try:
            region = region_of(instance.segmentation, size)
        except ValueError as error:
            raise UserError(f"{image.path.name} in {image.file}: {error}; correct it") from None
        value = VOID if instance.iscrowd else ids.get(name, VOID)
        packed = np.packbits(region)  # a short file can have many regions of a large image
        layers.append((not instance.iscrowd, -np.count_nonzero(region), value, packed))
    mask = np.zeros(size, dtype=np.uint8)
    for _, _, value, packed in sorted(layers, key=lambda layer: layer[:2]):
        mask[np.unpackbits(packed, count=mask.size).reshape(size).view(bool)] = value
    return mask
