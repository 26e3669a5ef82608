"""What a file is by its first bytes, and what to do where it is no picture that can be read."""

from typing import NamedTuple

CONVERT = "save it as JPEG or PNG"


class Kind(NamedTuple):
    """A kind of file: its name, and what its owner can do."""

    name: str
    remedy: str


HEIC = Kind("HEIC", f"{CONVERT} (a phone's setting 'most compatible' takes JPEGs)")
HTML = Kind("a page of HTML", "download the picture itself")
GIT_LFS = Kind("a pointer of Git LFS", "run git lfs pull")
GZIP = Kind("a gzip archive", "unpack it")
# First bytes by kind; those of the formats that Pillow reads for us are here for the stages that
# read only some of them.
SIGNATURES: tuple[tuple[bytes, Kind], ...] = (
    (b"\xff\xd8\xff", Kind("JPEG", "save it as PNG")),
    (b"\x89PNG\r\n\x1a\n", Kind("PNG", CONVERT)),
    (b"GIF8", Kind("GIF", "save it as PNG")),
    (b"II*\x00", Kind("TIFF", "save it as PNG")),
    (b"MM\x00*", Kind("TIFF", "save it as PNG")),
    (b"II+\x00", Kind("BigTIFF", "save it as PNG or plain TIFF")),
    (b"MM\x00+", Kind("BigTIFF", "save it as PNG or plain TIFF")),
    (b"BM", Kind("BMP", "save it as PNG")),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", Kind("JPEG 2000", CONVERT)),
    (b"\xff\x4f\xff\x51", Kind("JPEG 2000", CONVERT)),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", Kind("JPEG XL", CONVERT)),
    (b"\xff\x0a", Kind("JPEG XL", CONVERT)),
    (b"8BPS", Kind("Photoshop's PSD", CONVERT)),
    (b"v/1\x01", Kind("OpenEXR", CONVERT)),
    (b"\x00\x00\x01\x00", Kind("an icon", "save it as PNG")),
    (b"FUJIFILMCCD-RAW", Kind("a camera's raw file", CONVERT)),
    (b"IIRO", Kind("a camera's raw file", CONVERT)),
    (b"IIU\x00", Kind("a camera's raw file", CONVERT)),
    (b"%PDF", Kind("a PDF", "export its page as PNG")),
    (b"PK\x03\x04", Kind("a zip archive", "unpack it")),
    (b"\x1f\x8b", GZIP),
    (b"7z\xbc\xaf", Kind("a 7z archive", "unpack it")),
    (b"Rar!", Kind("a rar archive", "unpack it")),
    (b"\x93NUMPY", Kind("a NumPy array", "save it as PNG")),
    (
        b"\x00\x05\x16\x07",
        Kind("macOS' companion of a file", "give the file itself"),
    ),
    (b"version https://git-lfs", GIT_LFS),
    (b"<svg", Kind("SVG", "export it as PNG")),
    (b"<?xml", Kind("XML", "give the picture itself")),
    (b"<!doctype html", HTML),
    (b"<html", HTML),
)
HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"hevx", b"mif1", b"msf1", b"heif")


def kind_of(content: bytes) -> Kind | None:
    """The kind of a file by its first bytes; None if it is not known."""
    if content[4:8] == b"ftyp":
        return _kind_of_media(content[8:12])
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return Kind("WebP", "save it as PNG")
    if content[128:132] == b"DICM":
        return Kind("DICOM", CONVERT)
    text = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for first_bytes, kind in SIGNATURES:
        if (text if first_bytes[:1] == b"<" else content).startswith(first_bytes):
            return kind
    return None


def _kind_of_media(brand: bytes) -> Kind:
    """The kind of a file in the ISO base media format, by its brand."""
    if brand in HEIC_BRANDS:
        return HEIC
    if brand in (b"avif", b"avis"):
        return Kind("AVIF", CONVERT)
    return Kind("a video", "take single pictures from it")
