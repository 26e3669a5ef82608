"""Opening pictures that come from outside."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

# Pillow knows many more, and starts another program for some.
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
MOST_PIXELS = 90_000_000  # of which a photo takes a gigabyte while it is decoded


def open_picture(path: Path, formats: Sequence[str] = FORMATS) -> Image.Image:
    """Open a picture whose content, whatever its name, is of one of the formats.

    Raises what Pillow raises, and ValueError for one of more than MOST_PIXELS or of another format.
    A broken file makes Pillow raise exceptions of every kind, when it is opened or later when
    pixels are asked for.
    """
    # From memory: of a file Pillow asks as many bytes as a forged length says.
    content = io.BytesIO(path.read_bytes())
    try:
        picture = Image.open(content, formats=formats)
    except UnidentifiedImageError:  # which names the place in memory
        raise ValueError(f"it is no picture ({', '.join(formats)})") from None
    if picture.width * picture.height > MOST_PIXELS:
        raise ValueError(f"{picture.width} x {picture.height} pixels are too many")
    return picture
