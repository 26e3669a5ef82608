"""Masks of class ids as palette PNGs in VOC's colours."""

from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.formats.mask_coding import MaskReader
from seedbed.formats.palette import VOC_PALETTE, VOID
from seedbed.runtime.atomic import atomic


def save_mask(path: Path, mask: np.ndarray, palette: np.ndarray = VOC_PALETTE) -> None:
    """Write a mask as `write_mask` does, but directly under its name, not by renaming.

    `palette`, (256, 3) uint8, has the colour of each id.
    """
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"mask: uint8 (H, W) wanted, got {mask.dtype} {mask.shape}")
    image = Image.fromarray(mask)
    # All 256 colours: with fewer, Pillow would use fewer bits per pixel and lose id 255.
    image.putpalette(palette.tobytes())
    image.save(path, format="PNG")


def save_values(path: Path, values: np.ndarray) -> None:
    """Write values (H, W) uint16 as a grey PNG of 8 bits or, if they need them, 16."""
    Image.fromarray(values if values.max() > 255 else values.astype(np.uint8)).save(path, "PNG")


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write class ids (H, W) uint8 as an 8-bit palette PNG in VOC's colours."""
    with atomic(path) as temporary:
        save_mask(temporary, mask)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask file as class ids (H, W) uint8, see `MaskReader`.

    Raises UserError if the file cannot be read, or has a colour that is not VOC's.
    """
    return MaskReader(count=VOID - 1).read(path)[0]
