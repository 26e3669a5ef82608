"""Opening pictures from untrusted sources."""

import io
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from seedbed.formats.signatures import kind_of

# Pillow knows many more, and runs an external program for some.
FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
MAX_PIXELS = 90_000_000  # decoding a photo of this size takes a gigabyte
JPEG_START, JPEG_SCAN, JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
ZEROS = 512  # bytes, a sector: compressed pixels have no such run
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_METADATA = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
# Texts that may say how a picture is turned.
PNG_ORIENTATION = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0", b"Raw profile type APP1\0")
MAX_TEXT = 1 << 20  # bytes; Pillow's limit


class PictureError(ValueError):
    """Why a whole file cannot be used as a picture; `remedy` is what to do."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


class TooManyPixelsError(PictureError):
    """A picture has more pixels than its reader takes."""


def remedy_of(error: Exception, otherwise: str) -> str:
    """What to do after an error of `open_picture`; `otherwise` is for a damaged file."""
    return error.remedy if isinstance(error, PictureError) else otherwise


def open_picture(
    path: Path, formats: Sequence[str] = FORMATS, *, max_pixels: int = MAX_PIXELS
) -> Image.Image:
    """Open a picture; the format is recognised by its content, not its name.

    Raises:
        PictureError: if it has another format or more than `max_pixels`.
        Exception: for a broken file Pillow raises exceptions of any type, here or later when the
            pixels are decoded.

    """
    content = path.read_bytes()
    if _is_zero_filled(content):  # Pillow draws a baseline JPEG's missing half in one colour
        raise PictureError(
            "zeros stand for the rest of the picture, as after an interrupted copy", "get it again"
        )
    # From memory: Pillow would allocate as many bytes as a forged length in the file says.
    stream = io.BytesIO(_without_metadata(content))
    return open_stream(stream, formats, max_pixels=max_pixels)


def _is_zero_filled(content: bytes) -> bool:
    """Whether a JPEG ends in a long run of zeros without the mark of its picture's end.

    Zeros behind that mark, where cameras fill a file up, are none of the picture.
    """
    if not (content.startswith(JPEG_START) and content.endswith(bytes(ZEROS))):
        return False
    place = len(JPEG_START)
    while (marker := content[place : place + 2]) != JPEG_SCAN and marker[:1] == b"\xff":
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        place += 1 if marker == b"\xff\xff" else 2 + length
    return content.find(JPEG_END, place) < 0  # those before the pixels are of thumbnails


def open_stream(stream: BinaryIO, formats: Sequence[str], *, max_pixels: int) -> Image.Image:
    """Open a picture in memory, or in a file that is mapped to it, as `open_picture` does."""
    try:
        with _pillow_limit(max_pixels):
            picture = Image.open(stream, formats=formats)
    except UnidentifiedImageError:  # its message would name the memory buffer, not the file
        stream.seek(0)
        raise _unsupported(stream.read(256), formats) from None
    except Image.DecompressionBombError as error:
        raise _too_large("it", max_pixels) from error
    if picture.width * picture.height > max_pixels:
        raise _too_large(f"{picture.width} x {picture.height} pixels", max_pixels)
    return picture


@contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Lift Pillow's own limit, of twice 90 megapixels, while a picture may be larger."""
    before = Image.MAX_IMAGE_PIXELS
    if max_pixels > MAX_PIXELS:
        Image.MAX_IMAGE_PIXELS = None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def is_supported(path: Path, formats: Sequence[str] = FORMATS) -> bool:
    """Whether a file begins like a picture of one of the formats."""
    with path.open("rb") as file:
        kind = kind_of(file.read(256))
    return kind is not None and kind.name.upper() in formats


def _unsupported(content: bytes, formats: Sequence[str]) -> PictureError:
    kind, names = kind_of(content), ", ".join(formats)
    if not content:
        return PictureError("it is empty", "get it again")
    if kind is None:
        return PictureError(f"it is no picture ({names})", "get it again, or save it as PNG")
    if kind.name.upper() in formats:  # the right first bytes, and nothing more
        return PictureError(f"it is a damaged {kind.name}", "get it again")
    remedy = "save it as PNG" if "JPEG" not in formats and "JPEG" in kind.remedy else kind.remedy
    return PictureError(f"it is {kind.name}, none of {names}", remedy)


def _too_large(what: str, max_pixels: int) -> TooManyPixelsError:
    limit = f"{max_pixels // 1_000_000} megapixels, the limit"
    if what == "it":
        return TooManyPixelsError(f"it has more than {limit}", "make it smaller")
    return TooManyPixelsError(f"{what} are more than {limit}", "make it smaller")


def _without_metadata(content: bytes) -> bytes:
    """A PNG without its texts and colour profile, whose size Pillow limits; others unchanged.

    None of them changes the pixels that are read. Texts that may hold EXIF data are kept.
    """
    if not content.startswith(PNG_SIGNATURE) or not any(kind in content for kind in PNG_METADATA):
        return content
    return PNG_SIGNATURE + b"".join(
        chunk
        for chunk in _png_chunks(memoryview(content))
        if bytes(chunk[4:8]) not in PNG_METADATA or _may_turn(bytes(chunk[:MAX_TEXT]))
    )


def _png_chunks(content: memoryview) -> Iterator[memoryview]:
    """The chunks of a PNG, with their length, kind and checksum; the last may be cut short."""
    start = len(PNG_SIGNATURE)
    while start < len(content):
        end = len(content)
        if start + 8 <= end:
            end = start + 12 + struct.unpack_from(">I", content, start)[0]
        yield content[start:end]
        start = end


def _may_turn(chunk: bytes) -> bool:
    """Whether a text may say how the picture is turned, and is no longer than Pillow allows."""
    kind, text = chunk[4:8], chunk[8:-4]
    if len(chunk) == MAX_TEXT or not text.startswith(PNG_ORIENTATION):
        return False
    rest = text.partition(b"\0")[2]
    if kind == b"tEXt" or (kind == b"iTXt" and rest[:1] == b"\0"):
        return True
    packed = rest[1:] if kind == b"zTXt" else rest[2:].split(b"\0", 2)[-1]
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed, MAX_TEXT)
    except zlib.error:
        return False
    return not unpacking.unconsumed_tail
