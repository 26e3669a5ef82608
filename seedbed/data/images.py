"""Reading photographs."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from seedbed.errors import UserError


def read_image(path: Path) -> np.ndarray:
    """Read an image of any mode as RGB uint8 (H, W, 3), turned upright as its EXIF data says.

    Of 16 bits a channel the upper eight count. Raises UserError for a file that is missing,
    broken or no image, and for levels without a fixed range (32 bits a channel).
    """
    try:
        with Image.open(path) as image:
            return _rgb(ImageOps.exif_transpose(image), path)
    except FileNotFoundError:
        raise UserError(f"image {path} is missing: put it there, or take it off the list") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read the image {path}: {error}; get it again") from error


def _rgb(image: Image.Image, path: Path) -> np.ndarray:
    if image.mode in ("I", "F"):
        raise UserError(f"image {path} has 32 bits a channel: save it with 8 or 16 instead")
    if image.mode.startswith("I;16"):  # Pillow's own conversion cuts all levels off at 255
        image = Image.fromarray((np.array(image) >> 8).astype(np.uint8))
    return np.array(image.convert("RGB"))
