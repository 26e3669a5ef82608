"""Images of every kind, good and bad."""

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.data.index import Index
from seedbed.formats.maps import Maps
from seedbed.formats.masks import write_mask
from tests.bad_input.case import CAT, HEIGHT, WIDTH, Bad, case, pixels

UPRIGHT = 0x0112  # EXIF's orientation
QUARTER_TURN = 6


def write_png(path: Path, size: tuple[int, int], depth: int, colour: int, data: bytes) -> None:
    """A PNG of any depth and colour type; `data` are the filtered rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@case("an image of a list is missing")
def _(bad: Bad) -> str:
    (bad.make_devkit().images / "t2.jpg").unlink()
    return bad.not_converted()


@case("a JPEG is truncated")
def _(bad: Bad) -> str:
    bad.make_devkit()
    path = bad.images / "t2.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:-200])
    return bad.not_converted()


@case("the second half of a JPEG is zeros, as after an interrupted copy")
def _(bad: Bad) -> str:
    bad.make_devkit()
    path = bad.images / "t2.jpg"
    Image.effect_noise((64, 64), 50).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) // 2))
    return bad.not_converted()


@case("zeros behind the end of a JPEG, as cameras write them")
def _(bad: Bad) -> None:
    bad.make_devkit()
    path = bad.images / "t2.jpg"
    whole = bad.read("data/VOCdevkit/VOC2012/JPEGImages/t2.jpg")
    path.write_bytes(path.read_bytes() + bytes(4096))
    assert np.array_equal(bad.read("data/VOCdevkit/VOC2012/JPEGImages/t2.jpg"), whole)
    bad.converted()


@case("a PNG has a broken byte")
def _(bad: Bad) -> str:
    bad.make_devkit()
    path = bad.images / "t2.jpg"
    Image.effect_noise((64, 64), 50).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[1000] ^= 255
    path.write_bytes(content)
    return bad.not_converted()


@case("an image is a file of zero bytes")
def _(bad: Bad) -> str:
    (bad.make_devkit().images / "t2.jpg").write_bytes(b"")
    return bad.not_converted()


@case("an image is a page of HTML")
def _(bad: Bad) -> str:
    (bad.make_devkit().images / "t2.jpg").write_text("<html>404 Not Found</html>")
    return bad.not_converted()


@case("a decompression bomb: 400 megapixels in a small file")
def _(bad: Bad) -> str:
    write_png(bad.make_devkit().images / "t2.jpg", (20000, 20000), 8, 0, b"")
    return bad.not_converted()


@case("an image of 32 bits a channel")
def _(bad: Bad) -> str:
    levels = np.ones((HEIGHT, WIDTH), np.float32)
    Image.fromarray(levels).save(bad.make_devkit().images / "t2.jpg", "TIFF")
    return bad.not_converted()


@case("an image of 16 bits a channel, grey or in colour")
def _(bad: Bad) -> None:
    levels = (0, 255, 256, 0x80FF, 65535, 0x1234)
    write_png(bad.root / "grey.png", (6, 1), 16, 0, b"\0" + struct.pack(">6H", *levels))
    write_png(bad.root / "colour.png", (2, 1), 16, 2, b"\0" + struct.pack(">6H", *levels))
    upper = [0, 0, 1, 0x80, 255, 0x12]
    assert bad.read("grey.png").tolist() == [[[level] * 3 for level in upper]]
    assert bad.read("colour.png").tolist() == [[upper[:3], upper[3:]]]


@case("a greyscale, a two-colour or a palette image")
def _(bad: Bad) -> None:
    image = Image.fromarray(np.array([[0, 255]], np.uint8))
    for mode in ("L", "1", "P"):
        image.convert(mode).save(bad.root / "a.png")
        assert bad.read("a.png").tolist() == [[[0] * 3, [255] * 3]], mode


@case("an image with transparency, of a palette too")
def _(bad: Bad) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(bad.root / "palette.png", transparency=b"\x80\x40")
    image.convert("RGB").convert("RGBA").save(bad.root / "channel.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("palette.png", "channel.png"):
            assert bad.read(name).tolist() == [[[10, 20, 30], [200, 100, 50]]]


@case("a CMYK image, also Adobe's inverted JPEG")
def _(bad: Bad) -> None:
    image = Image.new("RGB", (8, 8), (250, 10, 20)).convert("CMYK")
    image.save(bad.root / "a.jpg", quality=100)
    image.save(bad.root / "a.tif")
    assert b"Adobe" in (bad.root / "a.jpg").read_bytes()
    for name in ("a.jpg", "a.tif"):
        assert np.abs(bad.read(name).astype(int) - (250, 10, 20)).max() <= 3


@case("an image with an EXIF orientation")
def _(bad: Bad) -> None:
    bad.make_devkit()
    exif = Image.Exif()
    exif[UPRIGHT] = QUARTER_TURN
    for image_id in ("t1", "v1"):
        pixels().save(bad.images / f"{image_id}.jpg", exif=exif)
        bad.paint(image_id, CAT, (WIDTH, HEIGHT))
    found = bad.converted()
    entry = Index.load(found / "index.json").entry("v1")
    assert (entry.height, entry.width) == (WIDTH, HEIGHT) == Maps(found / "masks.h5")["v1"].shape
    plain = np.asarray(Image.open(bad.images / "v1.jpg").convert("RGB"))
    turned = bad.read(f"data/{entry.path}")
    np.testing.assert_array_equal(turned, np.rot90(plain, -1))


@case("a mask with an EXIF orientation")
def _(bad: Bad) -> None:
    bad.make_devkit()
    exif = Image.Exif()
    exif[UPRIGHT] = QUARTER_TURN
    pixels().save(bad.images / "v1.jpg", exif=exif)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[0] = CAT
    write_mask(bad.masks / "v1.png", mask)
    with Image.open(bad.masks / "v1.png") as image:
        image.save(bad.masks / "v1.png", exif=exif)
    found = Maps(bad.converted() / "masks.h5")["v1"]
    np.testing.assert_array_equal(found, np.rot90(mask == CAT, -1))


@case("a mask of the size of such an image before it is rotated")
def _(bad: Bad) -> str:
    bad.make_devkit()
    exif = Image.Exif()
    exif[UPRIGHT] = QUARTER_TURN
    pixels().save(bad.images / "v1.jpg", exif=exif)
    return bad.not_converted()


@case("a file with several frames: GIF, WebP, PNG, TIFF")
def _(bad: Bad) -> None:
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    for name in ("a.gif", "a.webp", "a.png", "a.tif"):
        first.save(bad.root / name, save_all=True, append_images=[second])
        assert (bad.read(name)[0, 0] // 2).tolist() == [127, 0, 0], name


@case("a PNG named .jpg, or a JPEG named .HEIC, .jfif or .jpe")
def _(bad: Bad) -> None:
    pixels().save(bad.root / "a.jpg", "PNG")
    np.testing.assert_array_equal(bad.read("a.jpg"), np.asarray(pixels()))
    bad.make_devkit()
    for image_id, suffix in (("t1", ".HEIC"), ("t2", ".jfif"), ("v1", ".jpe")):
        (bad.images / f"{image_id}.jpg").rename(bad.images / f"{image_id}{suffix}")
    index = Index.load(bad.converted() / "index.json")
    assert [Path(entry.path).suffix for entry in index.images] == [".HEIC", ".jfif", ".jpe"]


@case("a mask is a file of zero bytes")
def _(bad: Bad) -> str:
    (bad.make_devkit().masks / "v1.png").write_bytes(b"")
    return bad.not_converted()


@case("a val image has no mask")
def _(bad: Bad) -> str:
    (bad.make_devkit().masks / "v1.png").unlink()
    return bad.not_converted()


@case("a mask of another size than its image")
def _(bad: Bad) -> str:
    bad.make_devkit().paint("v1", CAT, (HEIGHT, WIDTH + 1))
    return bad.not_converted()


@case("a mask with an index that is not a class")
def _(bad: Bad) -> str:
    bad.make_devkit().paint("v1", 21)
    return bad.not_converted()


@case("a mask in VOC's colours, RGB instead of palette")
def _(bad: Bad) -> None:
    bad.make_devkit()
    path = bad.masks / "v1.png"
    Image.open(path).convert("RGB").save(path)
    assert (Maps(bad.converted() / "masks.h5")["v1"] == 1).all()


@case("an RGB mask with another colour")
def _(bad: Bad) -> str:
    Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)).save(bad.make_devkit().masks / "v1.png")
    return bad.not_converted()


@case("a decompression bomb instead of a mask")
def _(bad: Bad) -> str:
    write_png(bad.make_devkit().masks / "v1.png", (20000, 20000), 8, 0, b"")
    return bad.not_converted()


@case("masks for only some of the train images")
def _(bad: Bad) -> None:
    bad.make_devkit()
    write_mask(bad.masks / "other.png", np.zeros((2, 2), np.uint8))
    assert set(Maps(bad.converted() / "masks.h5")) == {"t1", "v1"}
