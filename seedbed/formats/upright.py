"""Pictures as programs show them: turned as their EXIF data say, and with 0 as black."""

import re
import warnings

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag

WHITE_IS_ZERO = 0  # value of PhotometricInterpretation
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
warnings.filterwarnings("ignore", "Corrupt EXIF data")  # which are read as far as they go


def upright(picture: Image.Image) -> Image.Image:
    """Decode a picture and turn it as its EXIF data say, as far as they can be read.

    A palette and its indices stay. Levels of a grey TIFF of 16 bits whose 0 is white are inverted.
    """
    # `exif_transpose` of Pillow also writes them anew, which fails where another field is broken.
    picture.load()  # which turns a TIFF
    orientation = orientation_of(picture)
    turned = picture.transpose(TURNS[orientation]) if orientation else picture
    return Image.fromarray(~np.asarray(turned)) if is_inverted(picture) else turned


def orientation_of(picture: Image.Image) -> int | None:
    """EXIF's orientation, 2 to 8; None if there is none, or none that can be read."""
    try:
        value = re.fullmatch(r"\s*([2-8])[\s\0]*", str(picture.getexif().get(Tag.Orientation, "")))
    except Exception:
        return None
    return int(value[1]) if value else None


def is_inverted(picture: Image.Image) -> bool:
    """Whether an opened picture is a grey TIFF of 16 bits whose 0 is white.

    Pillow inverts those of fewer bits itself, and leaves these as they are stored.
    """
    tags = getattr(picture, "tag_v2", None)
    deep = picture.mode.startswith("I;16")
    return deep and tags is not None and tags.get(Tag.PhotometricInterpretation) == WHITE_IS_ZERO
