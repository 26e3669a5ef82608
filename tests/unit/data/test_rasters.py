"""Rows of large images equal those of the image read whole; what is too large is refused."""

import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from seedbed.data import rasters
from seedbed.data.images import decode_image, is_dark
from seedbed.data.rasters import HeldRaster, TiffRaster, open_raster
from seedbed.runtime.errors import UserError

HEIGHT, WIDTH = 157, 203
CUTS = ((0, HEIGHT), (10, 90), (64, 65), (150, HEIGHT))
COARSE = np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8)
PHOTO = np.array(Image.fromarray(COARSE).resize((WIDTH, HEIGHT)))
GREY12 = PHOTO[..., 0].astype(np.uint16) * 16
DEEP = PHOTO.astype(np.uint16) * 257
PIXELS = {"colour": PHOTO, "grey": PHOTO[..., 0], "12 bits": GREY12, "deep": DEEP}
TIFFS = {
    "one strip": {},
    "strips": {"rowsperstrip": 20},
    "big endian": {"rowsperstrip": 150, "byteorder": ">"},
    "tiles": {"tile": (64, 48)},
    "bigtiff": {"tile": (32, 32), "bigtiff": True},
    "deflate": {"tile": (64, 48), "compression": "zlib"},
    "predictor": {"rowsperstrip": 20, "compression": "zlib", "predictor": True},
}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Images of more than ten pixels are large."""
    monkeypatch.setattr(rasters, "MAX_PIXELS", 10)


def check(path, kind, **options):
    """Compare rows with the whole image, and return the latter."""
    raster = open_raster(path, **options)
    assert isinstance(raster, kind) and raster.size == (HEIGHT, WIDTH)
    whole = decode_image(path, **options)
    for top, bottom in CUTS:
        rows = raster.rows(top, bottom)
        np.testing.assert_array_equal(rows.pixels, whole.pixels[top:bottom])
        assert rows.bits == whole.bits
    assert raster.rows(0, HEIGHT).highest == whole.highest
    return whole


@pytest.mark.parametrize("form", TIFFS)
@pytest.mark.parametrize("kind", PIXELS)
def test_tiffs_are_read_in_parts(tmp_path, form, kind):
    path, pixels = tmp_path / "a.tif", PIXELS[kind]
    photometric = "rgb" if pixels.ndim == 3 else "minisblack"
    tifffile.imwrite(path, pixels, photometric=photometric, **TIFFS[form])
    check(path, TiffRaster)
    if pixels is GREY12:
        assert is_dark(check(path, TiffRaster)) and not is_dark(check(path, TiffRaster, bits=12))


@pytest.mark.parametrize(
    ("mode", "compression"),
    [
        ("RGB", "jpeg"),
        ("RGB", "tiff_lzw"),
        ("P", "tiff_lzw"),
        ("CMYK", "tiff_lzw"),
        ("1", "group4"),
        ("RGBA", "tiff_adobe_deflate"),
        ("L", "jpeg"),
    ],
)
def test_compressed_tiffs_of_any_mode_are_read_in_parts(tmp_path, mode, compression):
    path = tmp_path / "a.tif"
    Image.fromarray(PHOTO).convert(mode).save(path, compression=compression, strip_size=4096)
    check(path, TiffRaster)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp", "a.gif"])
def test_other_formats_are_held_decoded(tmp_path, name):
    Image.fromarray(PHOTO).save(tmp_path / name)
    check(tmp_path / name, HeldRaster)


def test_what_cannot_be_read_in_parts_is_held_too(tmp_path):
    planes = np.moveaxis(PHOTO, -1, 0)
    tifffile.imwrite(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    check(tmp_path / "a.tif", HeldRaster)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned: width and height change places
    Image.fromarray(np.ascontiguousarray(PHOTO.transpose(1, 0, 2))).save(
        tmp_path / "a.jpg", exif=exif
    )
    check(tmp_path / "a.jpg", HeldRaster)
    tifffile.imwrite(tmp_path / "b.tif", PHOTO.transpose(1, 0, 2), extratags=[(274, 3, 1, 6, True)])
    check(tmp_path / "b.tif", HeldRaster)


@pytest.mark.parametrize("orientation", [1, 6])
def test_grey_of_16_bits_is_inverted_where_0_is_white(tmp_path, orientation):
    levels = DEEP[..., 0] if orientation == 1 else np.ascontiguousarray(DEEP[..., 0].T)
    turn = [(274, 3, 1, orientation, True)]
    tifffile.imwrite(
        tmp_path / "a.tif", ~levels, photometric="miniswhite", rowsperstrip=20, extratags=turn
    )
    raster = open_raster(tmp_path / "a.tif")
    assert isinstance(raster, TiffRaster if orientation == 1 else HeldRaster)
    upright = PHOTO[..., 0] if orientation == 1 else PHOTO[:, ::-1, 0]
    for top, bottom in CUTS:
        np.testing.assert_array_equal(raster.rows(top, bottom).pixels[..., 0], upright[top:bottom])


def test_sixteen_bits_that_are_held(tmp_path):
    Image.fromarray(GREY12).save(tmp_path / "a.png")
    assert is_dark(check(tmp_path / "a.png", HeldRaster))
    check(tmp_path / "a.png", HeldRaster, bits=12)
    turned = DEEP.transpose(1, 0, 2) // 16
    tifffile.imwrite(tmp_path / "a.tif", turned, extratags=[(274, 3, 1, 6, True)])
    assert is_dark(check(tmp_path / "a.tif", HeldRaster))
    with pytest.raises(UserError, match="too large to be read by --bits 12: save it with 8 bits"):
        open_raster(tmp_path / "a.tif", bits=12)


def test_planes_of_sixteen_bits_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.moveaxis(DEEP, -1, 0), photometric="rgb", planarconfig="separate")
    message = f"image {path} stores the planes of its 16-bit colours apart: save it with interleav"
    assert refusal(path).startswith(message)
    monkeypatch.undo()
    assert refusal(path).startswith(message)


def test_small_images_are_read_as_ever(tmp_path, monkeypatch):
    monkeypatch.undo()
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    raster = open_raster(tmp_path / "a.png")
    assert raster.size == (HEIGHT, WIDTH)
    np.testing.assert_array_equal(raster.rows(3, 9).pixels, PHOTO[3:9])


def test_parts_without_data_are_black(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PHOTO, tile=(64, 64))
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        counts = list(tiff.pages[0].tags["TileByteCounts"].value)
        counts[0] = 0
        tiff.pages[0].tags["TileByteCounts"].overwrite(counts)
    pixels = open_raster(path).rows(0, 70).pixels
    assert not pixels[:64, :64].any() and (pixels[64:, :64] == PHOTO[64:70, :64]).all()


def refusal(path, **options):
    with pytest.raises(UserError) as error:
        raster = open_raster(path, **options)
        raster.rows(0, raster.size[0])
    return str(error.value)


def test_damaged_tiffs_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, PHOTO, tile=(64, 48), compression="zlib")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert refusal(path).startswith(f"cannot read the image {path}: ")
    path.write_bytes(whole)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages[0].tags["ImageLength"].overwrite(10 * HEIGHT)
    assert "15 of its" in refusal(path) and refusal(path).endswith("get it again")
    assert refusal(tmp_path / "gone.tif").startswith(f"image {tmp_path / 'gone.tif'} is missing")


def png_bomb(path, width, height):
    """A PNG whose header states a size, and whose pixels are cut short."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        content += struct.pack(">I", len(data)) + kind + data
        content += struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content)


def test_the_bounds_hold_before_anything_is_decoded(tmp_path, monkeypatch):
    monkeypatch.undo()
    tracemalloc.start()
    png_bomb(tmp_path / "a.png", 25_000, 25_000)
    assert refusal(tmp_path / "a.png").endswith(
        "25000 x 25000 pixels are more than 500 megapixels, the limit; make it smaller"
    )
    png_bomb(tmp_path / "a.png", 300_000, 1_000)
    assert refusal(tmp_path / "a.png").endswith(
        "a side of 300000 pixels is longer than 200000, the limit; cut it"
    )
    tifffile.imwrite(tmp_path / "a.tif", PHOTO, tile=(64, 64))
    for height, width, message in (
        (150_000, 150_000, "150000 x 150000 pixels are more than 10000 megapixels, the limit"),
        (10_000, 1_000_000, "12 of its 2453125 parts are there"),
        (30_000, 30_000, "12 of its 219961 parts are there"),
    ):
        with tifffile.TiffFile(tmp_path / "a.tif", mode="r+b") as tiff:
            tiff.pages[0].tags["ImageLength"].overwrite(height)
            tiff.pages[0].tags["ImageWidth"].overwrite(width)
        assert message in refusal(tmp_path / "a.tif")
    assert tracemalloc.get_traced_memory()[1] < 300e6
    tracemalloc.stop()
