"""Masks of class ids as palette PNGs in VOC's colours."""

import functools
from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.formats.pictures import open_picture, remedy_of
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

VOID = 255  # class id of pixels without a label


def _voc_palette() -> np.ndarray:
    """VOC's colours (256, 3): bit 3j + c of an id is bit 7 - j of channel c (VOC devkit)."""
    index = np.arange(256)[:, None]
    channel = np.arange(3)
    return sum(((index >> (3 * j + channel)) & 1) << (7 - j) for j in range(3)).astype(np.uint8)


VOC_PALETTE = _voc_palette()


def save_mask(path: Path, mask: np.ndarray) -> None:
    """Write a mask as `write_mask` does, but directly under its name, not by renaming."""
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"mask: uint8 (H, W) wanted, got {mask.dtype} {mask.shape}")
    image = Image.fromarray(mask)
    # All 256 colours: with fewer, Pillow would use fewer bits per pixel and lose id 255.
    image.putpalette(VOC_PALETTE.tobytes())
    image.save(path, format="PNG")


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write class ids (H, W) uint8 as an 8-bit palette PNG in VOC's colours."""
    with atomic(path) as temporary:
        save_mask(temporary, mask)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask PNG as class ids (H, W) uint8; RGB is decoded by VOC's colours.

    Raises:
        UserError: if the file cannot be read, has another mode, or has a colour that is not VOC's.

    """
    try:
        with open_picture(path, ["PNG"]) as image:
            mode, pixels = image.mode, np.array(image)
    except Exception as error:  # see open_picture
        remedy = remedy_of(error, "put a whole PNG there")
        raise UserError(f"cannot read the mask {path}: {error}; {remedy}") from error
    if mode in ("P", "L"):
        return pixels
    if mode == "RGB":
        return _decode_colours(path, pixels)
    raise UserError(f"mask {path} has mode {mode}: save it as palette, grey or RGB PNG")


def _codes(colours: np.ndarray) -> np.ndarray:
    """Colours (…, 3) uint8 → 24-bit numbers (…) int32."""
    red, green, blue = np.moveaxis(colours, -1, 0)
    return red.astype(np.int32) << 16 | green.astype(np.int32) << 8 | blue


@functools.cache
def _ids_by_colour() -> np.ndarray:
    """The class id of each 24-bit colour, int16 (2²⁴,); -1 for colours that are not VOC's."""
    ids = np.full(1 << 24, -1, dtype=np.int16)
    ids[_codes(VOC_PALETTE)] = np.arange(256)
    return ids


def _decode_colours(path: Path, pixels: np.ndarray) -> np.ndarray:
    ids = _ids_by_colour()[_codes(pixels)]
    unknown = ids < 0
    if unknown.any():
        colour = tuple(pixels[unknown][0].tolist())
        raise UserError(f"mask {path} has the colour {colour}, not one of VOC's: correct the mask")
    return ids.astype(np.uint8)
