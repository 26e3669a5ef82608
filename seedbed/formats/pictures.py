"""Opening pictures from untrusted sources."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

# Pillow knows many more, and runs an external program for some.
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 90_000_000  # decoding a photo of this size takes a gigabyte


def open_picture(path: Path, formats: Sequence[str] = FORMATS) -> Image.Image:
    """Open a picture; the format is recognised by its content, not its name.

    Raises:
        ValueError: if it has another format or more than MAX_PIXELS.
        Exception: for a broken file Pillow raises exceptions of any type, here or later when the
            pixels are decoded.

    """
    # From memory: Pillow would allocate as many bytes as a forged length in the file says.
    content = io.BytesIO(path.read_bytes())
    try:
        picture = Image.open(content, formats=formats)
    except UnidentifiedImageError:  # its message would name the memory buffer, not the file
        raise ValueError(f"it is no picture ({', '.join(formats)})") from None
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
    return picture
