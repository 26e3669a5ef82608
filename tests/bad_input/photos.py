"""Images as cameras, phones and editors write them."""

import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, PngImagePlugin

from seedbed.data.images import read_entry
from seedbed.data.index import Index
from tests.bad_input.case import CONVERT, HEIGHT, WIDTH, Bad, case, pixels
from tests.bad_input.images import write_png

SHORT, TEXT = 3, 2  # types of EXIF's fields
ORIENTATION, X_RESOLUTION = 0x0112, 0x011A
TURN = b"\x06\0\0\0"


def write_levels(path: Path, levels: np.ndarray) -> None:
    """A PNG of 16 bits a channel: levels (H, W), or (H, W, 3) of colours."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    write_png(path, levels.shape[1::-1], 16, 2 if levels.ndim == 3 else 0, rows)


def exif(*fields: tuple[int, int, int, bytes]) -> bytes:
    """EXIF data of fields (tag, type, number of values, the four bytes of the value)."""
    head = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(fields))
    entries = (struct.pack("<HHI", *field[:3]) + field[3] for field in fields)
    return head + b"".join(entries) + bytes(4)


@case("an image of 10 or 12 bits in a 16-bit file")
def _(bad: Bad) -> None:
    bad.make_devkit()
    levels = np.random.default_rng(0).integers(0, 4096, (HEIGHT, WIDTH, 3))
    levels[0, 0] = 4095
    write_levels(bad.images / "t1.jpg", levels)
    write_levels(bad.images / "t2.jpg", levels[..., 0])
    for settings, shift in ((CONVERT, 8), ({**CONVERT, "bits": 12}, 4)):
        index = Index.load(bad.converted(settings) / "index.json")
        colour, grey = (read_entry(bad.data, index.entry(one)) for one in ("t1", "t2"))
        np.testing.assert_array_equal(colour, levels >> shift)
        np.testing.assert_array_equal(grey, np.repeat(levels[..., :1], 3, axis=2) >> shift)
    assert (index.entry("t1").bits, index.entry("t1").highest) == (12, 4095)


@case("a grey TIFF of 16 bits whose 0 is white")
def _(bad: Bad) -> None:
    levels = np.array([[0, 256, 65535]], np.uint16)
    tifffile.imwrite(bad.root / "a.tif", levels, photometric="miniswhite")
    assert bad.read("a.tif").tolist() == [[[255] * 3, [254] * 3, [0] * 3]]


@case("an image with a level that `convert.bits` does not hold")
def _(bad: Bad) -> str:
    bad.make_devkit()
    levels = np.zeros((HEIGHT, WIDTH, 3), int)
    levels[0, 0, 1] = 4096
    write_levels(bad.images / "t2.jpg", levels)
    line = bad.not_converted({**CONVERT, "bits": 12})
    write_levels(bad.images / "t2.jpg", levels[..., 1])
    assert bad.not_converted({**CONVERT, "bits": 12}) == line
    return line


@case("a TIFF of 16 bits whose planes of colour are stored apart")
def _(bad: Bad) -> str:
    path = bad.make_devkit().images / "t2.jpg"
    planes = np.zeros((3, HEIGHT, WIDTH), np.uint16)
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    return bad.not_converted()


@case("a HEIC, also one named .jpg")
def _(bad: Bad) -> str:
    path = bad.make_devkit().images / "t2.jpg"
    path.write_bytes(b"\0\0\0\x24ftypheic\0\0\0\0mif1heic" + bytes(50))
    return bad.not_converted()


@case("a large image")
def _(bad: Bad) -> str:
    write_png(bad.make_devkit().images / "t2.jpg", (10000, 10000), 8, 0, b"")
    return bad.not_converted()


@case("a PNG with long texts or a large colour profile")
def _(bad: Bad) -> None:
    for key, packed in (("Comment", True), ("Comment", False), ("XML:com.adobe.xmp", True)):
        info = PngImagePlugin.PngInfo()
        info.add_itxt(key, "x" * 3_000_000, zip=packed)
        info.add_text(key, "x" * 3_000_000, zip=packed)
        pixels().save(bad.root / "text.png", pnginfo=info)
        np.testing.assert_array_equal(bad.read("text.png"), np.asarray(pixels()))
    pixels().save(bad.root / "profile.png", icc_profile=bytes(3_000_000))
    np.testing.assert_array_equal(bad.read("profile.png"), np.asarray(pixels()))
    content = (bad.root / "profile.png").read_bytes()
    late = b"zTXt" + b"a\0\0" + zlib.compress(bytes(3_000_000))
    chunk = struct.pack(">I", len(late) - 4) + late + struct.pack(">I", zlib.crc32(late))
    (bad.root / "late.png").write_bytes(content[:-12] + chunk + content[-12:])
    np.testing.assert_array_equal(bad.read("late.png"), np.asarray(pixels()))


@case("EXIF data that are broken, beside the orientation or there")
def _(bad: Bad) -> None:
    image, path = Image.new("RGB", (8, 4)), bad.root / "a.jpg"
    resolution = (X_RESOLUTION, TEXT, 4, b"72a\0")
    for orientation in ((ORIENTATION, SHORT, 1, TURN), (ORIENTATION, TEXT, 2, b"6\0\0\0")):
        image.save(path, exif=exif(orientation, resolution))
        assert bad.read("a.jpg").shape == (8, 4, 3)
    for broken in (exif((ORIENTATION, TEXT, 2, b"x\0\0\0")), b"Exif\0\0II*\0\xff\xff\xff\0"):
        image.save(path, exif=broken)
        assert bad.read("a.jpg").shape == (4, 8, 3)
