"""Maps of one value a pixel in 8-bit pictures."""

from pathlib import Path

import numpy as np

from seedbed.errors import UserError
from seedbed.pictures import open_picture

DEEP_MODES = ("I", "F")  # Pillow's modes of more than 8 bits start with these


def read_grey(path: Path) -> np.ndarray:
    """Read an 8-bit picture of any mode as grey, float32 (H, W) from 0 to 1, or raise UserError."""
    try:
        with open_picture(path) as picture:
            deep = picture.mode.startswith(DEEP_MODES)
            if "transparency" in picture.info:  # as in seedbed.data.images
                picture = picture.convert("RGBA")
            grey = np.asarray(picture.convert("L"))
    except FileNotFoundError:
        raise UserError(f"the map {path} is missing: put it there") from None
    except Exception as error:  # see open_picture
        raise UserError(f"cannot read the map {path} ({error}): save it again") from error
    if deep:
        raise UserError(f"the map {path} has over 8 bits a pixel: save it as 8-bit PNG")
    return grey.astype(np.float32) / 255
