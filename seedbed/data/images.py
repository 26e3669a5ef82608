"""Reading images as RGB arrays."""

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag

from seedbed.data.index import ImageEntry
from seedbed.formats.pictures import FORMATS, open_picture, remedy_of
from seedbed.formats.upright import TURNS, is_inverted, orientation_of, upright
from seedbed.runtime.errors import UserError

IMAGE_FORMATS = (*FORMATS, "GIF")
DARK = 1 << 14  # a quarter of white in 16 bits
# Pillow warns of large images and refuses larger ones; `open_picture` has its own limit.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Decoded:
    """An image as it is read.

    Attributes:
        pixels: RGB uint8 (H, W, 3).
        bits: significant bits of each channel, of a file of 16; None for a file of 8.
        highest: the highest level in a file of 16 bits; None for one of 8.

    """

    pixels: np.ndarray
    bits: int | None = None
    highest: int | None = None


def is_dark(image: Decoded | ImageEntry) -> bool:
    """Whether an image of 16 bits has no level above a quarter of white, as of 10 or 12 bits."""
    return image.bits == 16 and image.highest is not None and image.highest < DARK


def read_image(path: Path, *, bits: int | None = None) -> np.ndarray:
    """Read an image of any mode as RGB uint8 (H, W, 3), rotated as its EXIF data says.

    Transparency is ignored, and of a file with several pictures the first is read.

    Args:
        path: the file.
        bits: significant bits (8 to 16) of the channels of a 16-bit file, whose upper eight are
            returned; cameras write 10 or 12. Default: 16. Files of 8 bits are read as they are.

    Raises:
        UserError: if the file is missing, broken, not an image, too large, has levels of more than
            `bits`, or has 32 bits per channel, whose range is not fixed.

    """
    return _read(path, bits, measure=False).pixels


def decode_image(path: Path, *, bits: int | None = None) -> Decoded:
    """Read an image as `read_image` does, and how many bits it has."""
    return _read(path, bits, measure=True)


def read_entry(data: Path, entry: ImageEntry) -> np.ndarray:
    """Read an image of an index, RGB uint8 (H, W, 3), as the conversion read it."""
    return read_image(data / entry.path, bits=entry.bits)


def _read(path: Path, bits: int | None, *, measure: bool) -> Decoded:
    with explained(path):
        return decode_picture(partial(open_picture, path, IMAGE_FORMATS), path, bits, measure)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors while an image is read into a UserError."""
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"image {path} is missing: put it there, or take it off the list") from None
    except UserError:
        raise
    except Exception as error:  # see open_picture
        remedy = remedy_of(error, "get it again")
        raise UserError(f"cannot read the image {path}: {error}; {remedy}") from error


def decode_picture(
    reopen: Callable[[], Image.Image], path: Path, bits: int | None, measure: bool
) -> Decoded:
    """Decode the picture that `reopen` opens, each time anew; see `read_image`."""
    with reopen() as image:
        depth = raw_mode(image)
        if image.mode in ("I", "F"):
            raise UserError(f"image {path} has 32 bits a channel: save it with 8 or 16 instead")
        refuse_deep_planes(image, path)
        if depth == "I;12":
            bits = bits or 12
        if image.mode.startswith("I;16"):  # Pillow's own conversion clips all levels at 255
            levels, inverted = np.array(upright(image)), is_inverted(image)
            return _shift(path, levels, bits or 16, inverted=inverted)
        pixels = _rgb(upright(image))
    if not is_deep(depth):
        return Decoded(pixels)
    return _read_deep_colour(reopen, path, pixels, bits or 16, measure=measure)


def read_orientation(path: Path) -> int | None:
    """EXIF's orientation of an image, 2 to 8; None if it is not turned.

    Raises:
        UserError: if the image is missing or cannot be read.

    """
    with explained(path), open_picture(path, IMAGE_FORMATS) as image:
        return orientation_of(image)


def turn(mask: np.ndarray, orientation: int) -> np.ndarray:
    """A mask (H, W) uint8 turned as `read_image` turns an image of this orientation."""
    return np.array(Image.fromarray(mask).transpose(TURNS[orientation]))


def _rgb(image: Image.Image) -> np.ndarray:
    if "transparency" in image.info:  # without this, Pillow warns of a palette's transparency
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def raw_mode(image: Image.Image) -> str:
    """How the file stores pixels, in Pillow's words: "RGB", "RGB;16B", "I;12"."""
    tiles = getattr(image, "tile", None)  # a part of a picture has none
    arguments = tiles[0].args if tiles else ""
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def is_deep(raw_mode: str) -> bool:
    """Whether channels have 16 bits, of which Pillow drops the lower eight."""
    return re.fullmatch(r"(RGB|RGBA|RGBX|RGBa|LA);16[BLN]", raw_mode) is not None


def refuse_deep_planes(image: Image.Image, path: Path) -> None:
    """Raise UserError for a TIFF of planes of 16 bits, whose bytes Pillow takes for pixels of 8."""
    if image.mode not in ("RGB", "RGBA", "CMYK") or is_deep(raw_mode(image)):
        return
    bits = image.tag_v2.get(Tag.BitsPerSample, 8) if getattr(image, "format", None) == "TIFF" else 8
    if max(bits if isinstance(bits, tuple) else (bits,)) > 8:
        raise UserError(
            f"image {path} stores the planes of its 16-bit colours apart: save it with interleaved "
            "channels"
        )


def _read_deep_colour(
    reopen: Callable[[], Image.Image], path: Path, upper: np.ndarray, bits: int, *, measure: bool
) -> Decoded:
    """A colour image of 16 bits a channel, of which `upper` (H, W, 3) are the upper eight."""
    highest = int(upper.max(initial=0)) << 8 | 255
    if bits == 16 and not (measure and highest < DARK):  # the lower bits do not matter
        return Decoded(upper, bits, highest)
    if (lower := _lower_bytes(reopen)) is not None:
        return _shift(path, upper.astype(np.uint16) << 8 | lower, bits)
    if bits < 16:
        raise UserError(f"image {path} is grey with transparency: save it without transparency")
    return Decoded(upper, bits, highest)


def _lower_bytes(reopen: Callable[[], Image.Image]) -> np.ndarray | None:
    """The lower eight bits of each channel, (H, W, 3) uint8: read in the other byte order.

    None where Pillow does not know that order: in a grey image with transparency.
    """
    with reopen() as image:
        if (mode := raw_mode(image)).startswith("LA"):
            return None
        other = mode[:-1] + ("L" if mode.endswith("B") else "B")
        image.tile = [
            tile._replace(args=other if isinstance(tile.args, str) else (other, *tile.args[1:]))
            for tile in image.tile
        ]
        return np.array(upright(image))[..., :3]


def _shift(path: Path, levels: np.ndarray, bits: int, *, inverted: bool = False) -> Decoded:
    """The upper eight of `bits` bits of levels, (H, W) or (H, W, 3) uint16.

    `inverted`: the file stores `65535 - levels`, of which `bits` bits count; 0 is white there.
    """
    levels = ~levels if inverted else levels
    highest = int(levels.max(initial=0))
    if highest >> bits:
        raise UserError(
            f"image {path} has the level {highest}, and {bits} bits hold {2**bits - 1} at most: "
            "correct bits"
        )
    upper = (levels >> (bits - 8)).astype(np.uint8)
    upper = ~upper if inverted else upper
    if upper.ndim == 2:
        upper = np.repeat(upper[..., None], 3, axis=2)
    return Decoded(upper, bits, highest)
