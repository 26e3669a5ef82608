"""Large images, of which some rows are read at a time.

A TIFF is decoded in its strips or tiles. All other formats can only be decoded from their
beginning: they are held decoded, with four bytes a pixel in place of three in an array, and eight
while they are turned upright.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from seedbed.data.images import (
    IMAGE_FORMATS,
    Decoded,
    decode_image,
    decode_picture,
    explained,
    is_deep,
    raw_mode,
    refuse_deep_planes,
    upright,
)
from seedbed.formats.pictures import MAX_PIXELS, PictureError, open_picture
from seedbed.formats.signatures import kind_of
from seedbed.formats.tiff_segments import Segment, TiffSegments, open_segments
from seedbed.runtime.errors import UserError

MAX_HELD = 500_000_000  # pixels of a picture that is decoded whole: 2 GB, 4 if it is turned
MAX_IN_PARTS = 10_000_000_000  # pixels of a TIFF that is decoded in parts
MAX_SIDE = 200_000  # bounds the memory of a row of tiles


class Raster(Protocol):
    """An image whose rows can be read.

    Attributes:
        size: (H, W).

    """

    size: tuple[int, int]

    def rows(self, top: int, bottom: int) -> Decoded:
        """Rows top..bottom (excluded), of full width; raises UserError if they are damaged."""


def open_raster(path: Path, *, bits: int | None = None) -> Raster:
    """Open an image as `read_image` does, but one of up to 10 000 megapixels.

    Up to 90 megapixels it is decoded at once. Larger ones have at most 500 megapixels, or 10 000 in
    a TIFF whose strips or tiles can be decoded one by one, and at most 200 000 pixels a side.

    Args:
        path: the file.
        bits: see `read_image`.

    Raises:
        UserError: as `read_image`.

    """
    with explained(path):
        with path.open("rb") as file:
            kind = kind_of(file.read(256))
        parts = None
        if kind is not None and kind.name in ("TIFF", "BigTIFF"):
            parts = open_segments(path, max_pixels=MAX_IN_PARTS)
        if parts is not None and _is_large(parts.size):
            return TiffRaster(path, _check_sides(parts), bits)
        with open_picture(path, IMAGE_FORMATS, max_pixels=MAX_HELD) as picture:
            if _is_large(picture.size):
                _check_sides(picture)
                return HeldRaster.of(path, picture, bits)
    return DecodedRaster(decode_image(path, bits=bits))


def _is_large(size: tuple[int, int]) -> bool:
    return size[0] * size[1] > MAX_PIXELS


def _check_sides(picture: TiffSegments | Image.Image) -> TiffSegments | Image.Image:
    if max(picture.size) > MAX_SIDE:
        raise PictureError(
            f"a side of {max(picture.size)} pixels is longer than {MAX_SIDE}, the limit", "cut it"
        )
    return picture


@dataclass(frozen=True)
class DecodedRaster:
    """An image that is decoded already."""

    whole: Decoded

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.whole.pixels.shape[:2]

    def rows(self, top: int, bottom: int) -> Decoded:
        """See `Raster`."""
        return replace(self.whole, pixels=self.whole.pixels[top:bottom])


@dataclass(frozen=True)
class HeldRaster:
    """A picture that Pillow holds decoded and upright."""

    path: Path
    picture: Image.Image
    bits: int | None
    deep: bool  # colour of 16 bits a channel, of which Pillow keeps the upper eight

    @classmethod
    def of(cls, path: Path, picture: Image.Image, bits: int | None) -> "HeldRaster":
        """Decode an opened picture; UserError if it is of 16 bits in colour, and `bits` fewer."""
        refuse_deep_planes(picture, path)
        deep = is_deep(raw_mode(picture))
        if deep and bits not in (None, 16):
            raise UserError(
                f"image {path} is too large to be read by --bits {bits}: save it with 8 bits a "
                "channel, or as a tiled TIFF"
            )
        whole = upright(picture)
        # Without what says how it is turned, else its parts would be turned again.
        whole.info = {k: v for k, v in whole.info.items() if k == "transparency"}
        return cls(path, whole, bits, deep)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.picture.height, self.picture.width

    def rows(self, top: int, bottom: int) -> Decoded:
        """See `Raster`."""
        cut = partial(self.picture.crop, (0, top, self.picture.width, bottom))
        decoded = decode_picture(cut, self.path, self.bits, measure=True)
        if not self.deep:
            return decoded
        return replace(decoded, bits=16, highest=int(decoded.pixels.max()) << 8 | 255)


@dataclass
class TiffRaster:
    """A TIFF that is decoded in parts, of which the last is kept."""

    path: Path
    parts: TiffSegments
    bits: int | None
    _last: tuple[Segment, Decoded] | None = field(default=None, repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.parts.size

    def rows(self, top: int, bottom: int) -> Decoded:
        """See `Raster`."""
        pixels = np.zeros((bottom - top, self.size[1], 3), np.uint8)
        highest, bits = [], None
        for segment in self.parts.within(top, bottom):
            if segment.length:  # else a part without data, as GDAL writes it
                decoded = self._decode(segment)
                bits = decoded.bits
                highest += [decoded.highest] if decoded.highest is not None else []
                _paste(pixels, top, decoded.pixels, segment)
        return Decoded(pixels, bits, max(highest, default=None))

    def _decode(self, segment: Segment) -> Decoded:
        if self._last is None or self._last[0] != segment:
            with explained(self.path):
                reopen = partial(self.parts.open, segment)
                self._last = segment, decode_picture(reopen, self.path, self.bits, measure=True)
        return self._last[1]


def _paste(rows: np.ndarray, top: int, part: np.ndarray, segment: Segment) -> None:
    """Copy the pixels of a segment into rows that begin at `top`; a tile may exceed the image."""
    first, last = max(segment.top, top), min(segment.top + segment.height, top + len(rows))
    columns = slice(segment.left, segment.left + segment.width)
    target = rows[first - top : last - top, columns]
    target[:] = part[first - segment.top : last - segment.top, : target.shape[1]]
