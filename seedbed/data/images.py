"""Reading photographs."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from seedbed.formats.pictures import FORMATS, open_picture
from seedbed.runtime.errors import UserError

PHOTOS = (*FORMATS, "GIF")
# A warning would be a second line: what Pillow only warns of is refused.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_image(path: Path) -> np.ndarray:
    """Read an image of any mode as RGB uint8 (H, W, 3), turned upright as its EXIF data says.

    Of 16 bits a channel the upper eight count, of several pictures in a file the first, and
    transparency not at all. Raises UserError for a file that is missing, broken, no image or too
    large, and for levels without a fixed range (32 bits a channel).
    """
    try:
        with open_picture(path, PHOTOS) as image:
            return _rgb(ImageOps.exif_transpose(image), path)
    except FileNotFoundError:
        raise UserError(f"image {path} is missing: put it there, or take it off the list") from None
    except UserError:
        raise
    except Image.DecompressionBombError as error:
        raise UserError(f"image {path} has too many pixels: make it smaller") from error
    except Exception as error:  # see open_picture
        raise UserError(f"cannot read the image {path}: {error}; get it again") from error


def _rgb(image: Image.Image, path: Path) -> np.ndarray:
    if image.mode in ("I", "F"):
        raise UserError(f"image {path} has 32 bits a channel: save it with 8 or 16 instead")
    if image.mode.startswith("I;16"):  # Pillow's own conversion cuts all levels off at 255
        image = Image.fromarray((np.array(image) >> 8).astype(np.uint8))
    if "transparency" in image.info:  # Pillow warns of a palette's unless it becomes a channel
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))
