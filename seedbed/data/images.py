"""Reading photographs."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from seedbed.errors import UserError


def read_image(path: Path) -> np.ndarray:
    """Read an image of any mode as RGB uint8 (H, W, 3), turned upright as its EXIF data says.

    Raises UserError for a file that is missing, broken or no image.
    """
    try:
        with Image.open(path) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except FileNotFoundError:
        raise UserError(f"image {path} is missing: put it there, or take it off the list") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read the image {path}: {error}; get it again") from error
