"""Grey pictures as maps of one value per pixel."""

from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.formats.pictures import open_picture, remedy_of
from seedbed.formats.upright import upright
from seedbed.runtime.errors import UserError

TINT = 32  # levels between the channels of a pixel that still counts as grey, as lossy files have


def read_grey(path: Path) -> np.ndarray:
    """Read a picture of any mode as grey, float32 (H, W) in [0, 1], turned as its EXIF data say.

    Raises:
        UserError: if it cannot be read, has colours, or has 32 bits per pixel, whose range is not
            fixed.

    """
    try:
        with open_picture(path) as picture:
            mode = picture.mode
            picture = upright(picture)
            if mode.startswith("I;16"):  # Pillow's own conversion clips all levels at 255
                return np.asarray(picture).astype(np.float32) / 65535
            if "transparency" in picture.info:  # as in seedbed.data.images
                picture = picture.convert("RGBA")
            colour, grey = _colour_of(picture), np.asarray(picture.convert("L"))
    except FileNotFoundError:
        raise UserError(f"the map {path} is missing: put it there") from None
    except Exception as error:  # see open_picture
        remedy = remedy_of(error, "get it again")
        raise UserError(f"cannot read the map {path} ({error}): {remedy}") from error
    if mode in ("I", "F"):
        raise UserError(f"the map {path} has 32 bits a pixel: save it with 8 or 16 instead")
    if colour:
        raise UserError(
            f"the map {path} has the colour {colour}, not only levels of grey: save it as grey"
        )
    return grey.astype(np.float32) / 255


def _colour_of(picture: Image.Image) -> tuple[int, ...] | None:
    """The most colourful pixel of a picture, (R, G, B); None if all are about grey."""
    if picture.mode in ("1", "L", "LA", "I", "F"):
        return None
    pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    spread = np.ptp(pixels, axis=1)
    return tuple(pixels[spread.argmax()].tolist()) if spread.max(initial=0) > TINT else None
