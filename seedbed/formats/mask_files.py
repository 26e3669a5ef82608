"""The pixels of a mask file as they are stored, before anything is said about their meaning."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ExifTags import Base as Tag

from seedbed.formats.pictures import open_picture, remedy_of
from seedbed.formats.upright import upright
from seedbed.runtime.errors import UserError

LOSSLESS = ("PNG", "BMP", "TIFF", "GIF")
LOSSY = ("JPEG", "WEBP")  # opened only to say why they cannot be used
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".jpg", ".jpeg", ".webp")
MAX_VALUE = 65535
GREY_DEPTHS = {"1": 1, "L": 8}  # bits per pixel of Pillow's modes

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class MaskFile:
    """A decoded mask file.

    Attributes:
        path: the file.
        kind: "grey", "palette" or "RGB".
        values: (H, W), whole numbers from 0: the stored levels of a grey file (not scaled to 255
            if it has 1, 2 or 4 bits), the indices of a palette file, or colours as 24-bit numbers.
        scale: the level of 0..255 at which the value 1 of a grey file is shown.
        palette: (256, 3) uint8, the colours of a palette file; entries it lacks are black.

    """

    path: Path
    kind: str
    values: np.ndarray
    scale: int = 1
    palette: np.ndarray | None = None

    def colours_of(self, values: list[int]) -> list[Colour]:
        """The colours in which values are shown."""
        if self.palette is not None:
            return [tuple(self.palette[value].tolist()) for value in values]
        if self.kind == "RGB":
            return [(value >> 16, value >> 8 & 255, value & 255) for value in values]
        return [(value * self.scale,) * 3 for value in values]


def colour_codes(colours: np.ndarray) -> np.ndarray:
    """Colours (…, 3) uint8 → 24-bit numbers (…) int32."""
    red, green, blue = np.moveaxis(colours, -1, 0)
    return red.astype(np.int32) << 16 | green.astype(np.int32) << 8 | blue


def read_mask_file(path: Path) -> MaskFile:
    """Decode a mask of any lossless format: palette, grey up to 16 bits, or RGB.

    It is turned as its EXIF data say, as images are. A channel of transparency is left out if every
    pixel is opaque.

    Raises:
        UserError: if the file cannot be read, its format is lossy, it holds several pictures, or
            its pixels are not exact class values (16 bits per colour, fractions, transparency).

    """
    try:
        with open_picture(path, (*LOSSLESS, *LOSSY)) as picture:
            if problem := _unsuitable(picture):
                raise UserError(f"mask {path} {problem}")
            depth = _grey_depth(picture, path)
            return _decode(path, upright(picture), depth)
    except UserError:
        raise
    except Exception as error:  # see open_picture
        remedy = remedy_of(error, "put a whole PNG there")
        raise UserError(f"cannot read the mask {path}: {error}; {remedy}") from error


def _unsuitable(picture: Image.Image) -> str:
    """Why a picture cannot be a mask, and what to do; empty if it can be one."""
    lossy = picture.format in LOSSY or picture.info.get("compression") == "jpeg"
    if lossy:
        return f"is a {picture.format} with lossy compression, which changes values: save it as PNG"
    if (count := getattr(picture, "n_frames", 1)) > 1:
        return f"holds {count} pictures: save one of them as PNG"
    return ""


def _grey_depth(picture: Image.Image, path: Path) -> int:
    """Bits of a stored sample. Pillow scales grey PNGs to 8 bits and reduces 16-bit colours."""
    if picture.format == "PNG":
        with path.open("rb") as file:
            return file.read(25)[24]  # of the header IHDR, which comes first
    if picture.format == "TIFF":
        return max(picture.tag_v2.get(Tag.BitsPerSample, (1,)))
    return GREY_DEPTHS.get(picture.mode, 8)


def _decode(path: Path, picture: Image.Image, depth: int) -> MaskFile:
    mode = picture.mode
    if mode in ("RGBA", "LA"):
        if picture.getchannel("A").getextrema() != (255, 255):
            raise UserError(f"mask {path} has transparent pixels: save it without transparency")
        mode = mode[:-1]
        picture = picture.convert(mode)
    if mode == "P":
        return MaskFile(path, "palette", np.array(picture), palette=_palette(picture))
    if mode in ("L", "RGB") and depth > 8:  # Pillow has dropped the lower bits
        raise UserError(f"mask {path} has {depth} bits a channel: save it as grey or with 8 bits")
    if mode == "RGB":
        return MaskFile(path, "RGB", colour_codes(np.array(picture)))
    if mode in ("1", "L"):
        scale = 255 // ((1 << min(depth, 8)) - 1)
        levels = np.array(picture.convert("L"))
        return MaskFile(path, "grey", levels // np.uint8(scale), scale)
    if mode.startswith("I") or mode == "F":
        return MaskFile(path, "grey", _whole_numbers(path, np.array(picture)))
    raise UserError(f"mask {path} has mode {mode}: save it as palette, grey or RGB PNG")


def _palette(picture: Image.Image) -> np.ndarray:
    colours = np.zeros((256, 3), dtype=np.uint8)
    stored = np.uint8(picture.getpalette("RGB")).reshape(-1, 3)[:256]
    colours[: len(stored)] = stored
    return colours


def _whole_numbers(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Values of 16 or 32 bits as int32."""
    good = (pixels >= 0) & (pixels <= MAX_VALUE)
    if not good.all() or not np.array_equal(pixels, pixels.astype(np.int32)):
        raise UserError(
            f"mask {path} holds values that are no whole numbers of 0 to {MAX_VALUE}: save the "
            "class ids"
        )
    return pixels.astype(np.int32)
