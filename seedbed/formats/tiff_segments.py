"""A TIFF's strips or tiles, each by itself, so that a large picture need not be decoded whole.

Pillow decodes a compressed TIFF whole. Here a strip or a tile is wrapped as a small TIFF of its
own, with the tags that say how pixels are stored, and Pillow decodes that.
"""

import io
import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from PIL import Image, TiffImagePlugin
from PIL.ExifTags import Base as Tag

from seedbed.formats.pictures import MAX_PIXELS, open_stream

ROWS = 64  # of an uncompressed strip that are read at once
# The tags that say how the pixels of a segment are stored.
STORAGE = (
    Tag.BitsPerSample,
    Tag.Compression,
    Tag.PhotometricInterpretation,
    Tag.FillOrder,
    Tag.SamplesPerPixel,
    Tag.T4Options,
    Tag.Predictor,
    Tag.ColorMap,
    Tag.ExtraSamples,
    Tag.SampleFormat,
    Tag.JPEGTables,
    Tag.YCbCrCoefficients,
    Tag.YCbCrSubSampling,
    Tag.YCbCrPositioning,
    Tag.ReferenceBlackWhite,
)
NONE, OLD_JPEG, YCBCR = 1, 6, 6  # values of Compression and PhotometricInterpretation


@dataclass(frozen=True)
class Segment:
    """A strip or tile: its upper left pixel, its size, and where its bytes are; 0 bytes: black."""

    top: int
    left: int
    height: int
    width: int
    offset: int
    length: int


@dataclass(frozen=True)
class TiffSegments:
    """A TIFF whose segments can be decoded.

    Attributes:
        size: (H, W) of the picture.
        mode: Pillow's mode of the picture.
        segments: from top to bottom.

    """

    size: tuple[int, int]
    mode: str
    segments: tuple[Segment, ...]
    _bytes: mmap.mmap
    _tags: TiffImagePlugin.ImageFileDirectory_v2

    def within(self, top: int, bottom: int) -> Iterator[Segment]:
        """The segments that hold rows top..bottom (excluded)."""
        return (s for s in self.segments if s.top < bottom and s.top + s.height > top)

    def open(self, segment: Segment) -> Image.Image:
        """A segment as a picture of its own, not decoded yet."""
        tags = self._tags
        order = tags.prefix
        own = TiffImagePlugin.ImageFileDirectory_v2(
            order + (b"*\0" if order == b"II" else b"\0*") + bytes(4)
        )
        for tag in (tag for tag in STORAGE if tag in tags):
            own.tagtype[tag] = tags.tagtype[tag]
            own[tag] = tags[tag]
        own[Tag.ImageWidth], own[Tag.ImageLength] = segment.width, segment.height
        own[Tag.RowsPerStrip], own[Tag.StripOffsets] = segment.height, 0
        own[Tag.StripByteCounts] = segment.length
        content = self._bytes[segment.offset : segment.offset + segment.length]
        byteorder = "little" if order == b"II" else "big"
        head = order + (42).to_bytes(2, byteorder) + (8).to_bytes(4, byteorder)
        stream = io.BytesIO(head + own.tobytes(8) + content)
        return open_stream(stream, ["TIFF"], max_pixels=MAX_PIXELS)


def open_segments(path: Path, *, max_pixels: int) -> TiffSegments | None:
    """Open a TIFF or BigTIFF; None if its segments cannot be decoded by themselves.

    These are turned pictures, planes that are stored apart, JPEGs of the old kind, and segments of
    more than 90 megapixels. Raises as `open_picture` does.
    """
    with path.open("rb") as file:
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    picture = open_stream(content, ["TIFF"], max_pixels=max_pixels)
    tags = picture.tag_v2
    apart = tags.get(Tag.PlanarConfiguration, 1) != 1 and tags.get(Tag.SamplesPerPixel, 1) > 1
    if apart or tags.get(Tag.Orientation, 1) != 1 or tags.get(Tag.Compression, NONE) == OLD_JPEG:
        return None
    size = (tags[Tag.ImageLength], tags[Tag.ImageWidth])
    segments = tuple(_segments_of(tags, size))
    if any(segment.height * segment.width > MAX_PIXELS for segment in segments):
        return None
    return TiffSegments(size, picture.mode, segments, content, tags)


def _segments_of(
    tags: TiffImagePlugin.ImageFileDirectory_v2, size: tuple[int, int]
) -> Iterator[Segment]:
    """All segments; ValueError if there are fewer than the size needs."""
    height, width = size
    tiled = Tag.TileOffsets in tags
    if tiled:
        rows, columns = tags[Tag.TileLength], tags[Tag.TileWidth]
        offsets, lengths = tags[Tag.TileOffsets], tags[Tag.TileByteCounts]
    else:
        rows, columns = min(tags.get(Tag.RowsPerStrip, height), height), width
        offsets, lengths = tags[Tag.StripOffsets], tags[Tag.StripByteCounts]
    offsets, lengths = _tuple(offsets), _tuple(lengths)
    tops, lefts = range(0, height, rows), range(0, width, columns)
    if not len(tops) * len(lefts) == len(offsets) == len(lengths):
        raise ValueError(f"{len(offsets)} of its {len(tops) * len(lefts)} parts are there")
    for (top, left), *place in zip(product(tops, lefts), offsets, lengths, strict=True):
        whole = Segment(top, left, rows if tiled else min(rows, height - top), columns, *place)
        yield from [whole] if tiled else _cut(whole, tags)


def _cut(strip: Segment, tags: TiffImagePlugin.ImageFileDirectory_v2) -> Iterator[Segment]:
    """An uncompressed strip, which may be the whole picture, in parts of a few rows."""
    compressed = tags.get(Tag.Compression, NONE) != NONE
    if compressed or tags.get(Tag.PhotometricInterpretation) == YCBCR or not strip.length:
        yield strip
        return
    if Tag.BitsPerSample in tags:
        bits = sum(_tuple(tags[Tag.BitsPerSample]))
    else:  # one a sample
        bits = tags.get(Tag.SamplesPerPixel, 1)
    row_bytes = (strip.width * bits + 7) // 8
    for first in range(0, strip.height, ROWS):
        rows = min(ROWS, strip.height - first)
        offset = strip.offset + first * row_bytes
        yield Segment(strip.top + first, strip.left, rows, strip.width, offset, rows * row_bytes)


def _tuple(value: object) -> tuple:
    return value if isinstance(value, tuple) else (value,)
