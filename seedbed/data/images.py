"""Reading images as RGB arrays."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from seedbed.formats.pictures import FORMATS, open_picture
from seedbed.runtime.errors import UserError

IMAGE_FORMATS = (*FORMATS, "GIF")
# Pillow warns of large images and refuses larger ones; `open_picture` has its own limit.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_image(path: Path) -> np.ndarray:
    """Read an image of any mode as RGB uint8 (H, W, 3), rotated as its EXIF data says.

    16-bit channels are reduced to their upper eight bits, transparency is ignored, and of a file
    with several pictures the first is read.

    Raises:
        UserError: if the file is missing, broken, not an image, too large, or has 32 bits per
            channel, whose range is not fixed.

    """
    try:
        with open_picture(path, IMAGE_FORMATS) as image:
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
    if image.mode.startswith("I;16"):  # Pillow's own conversion clips all levels at 255
        image = Image.fromarray((np.array(image) >> 8).astype(np.uint8))
    if "transparency" in image.info:  # without this, Pillow warns of a palette's transparency
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))
