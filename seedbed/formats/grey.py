"""Grey pictures as maps of one value per pixel."""

from pathlib import Path

import numpy as np

from seedbed.formats.pictures import open_picture, remedy_of
from seedbed.formats.upright import upright
from seedbed.runtime.errors import UserError


def read_grey(path: Path) -> np.ndarray:
    """Read a picture of any mode as grey, float32 (H, W) in [0, 1], turned as its EXIF data say.

    Raises:
        UserError: if it cannot be read, or has 32 bits per pixel, whose range is not fixed.

    """
    try:
        with open_picture(path) as picture:
            mode = picture.mode
            picture = upright(picture)
            if mode.startswith("I;16"):  # Pillow's own conversion clips all levels at 255
                return np.asarray(picture).astype(np.float32) / 65535
            if "transparency" in picture.info:  # as in seedbed.data.images
                picture = picture.convert("RGBA")
            grey = np.asarray(picture.convert("L"))
    except FileNotFoundError:
        raise UserError(f"the map {path} is missing: put it there") from None
    except Exception as error:  # see open_picture
        remedy = remedy_of(error, "get it again")
        raise UserError(f"cannot read the map {path} ({error}): {remedy}") from error
    if mode in ("I", "F"):
        raise UserError(f"the map {path} has 32 bits a pixel: save it with 8 or 16 instead")
    return grey.astype(np.float32) / 255
