"""Pictures of one value a pixel."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from seedbed.formats.grey import read_grey
from seedbed.runtime.errors import UserError
from tests.bad_input.images import write_png


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA"])
def test_read_grey_of_any_8_bit_mode(tmp_path, mode):
    grey = np.array([[0, 51, 255], [102, 204, 153]], np.uint8)
    Image.fromarray(grey).convert(mode).save(tmp_path / "map.png")
    found = read_grey(tmp_path / "map.png")
    assert found.dtype == np.float32
    assert np.allclose(found, grey / 255, atol=1e-6)


def test_a_palette_is_looked_up(tmp_path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    picture.putpalette([255, 255, 255, 0, 0, 0] + [7] * 762)
    picture.save(tmp_path / "map.png")
    assert (read_grey(tmp_path / "map.png") == [[1, 0]]).all()


@pytest.mark.parametrize("name", ["map.png", "map.tif"])
def test_16_bits_count_in_full(tmp_path, name):
    levels = np.array([[0, 1, 255, 256], [0x80FF, 257, 65534, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / name)
    found = read_grey(tmp_path / name)
    assert found.dtype == np.float32
    assert np.allclose(found * 65535, levels, atol=0.01)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("name", ["map.png", "map.tif"])
def test_maps_are_turned_as_images_are(tmp_path, name, kind):
    levels = np.array([[0, 1, 2], [3, 4, 5]], kind) * 51
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(levels).save(tmp_path / name, exif=exif)
    found = read_grey(tmp_path / name)
    assert np.allclose(found * np.iinfo(kind).max, np.rot90(levels, -1), atol=0.01)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_levels_are_inverted_where_0_is_white(tmp_path, kind, compression):
    white = np.iinfo(kind).max
    stored = np.array([[0, 1, white - 1, white]], kind)
    tifffile.imwrite(
        tmp_path / "map.tif", stored, photometric="miniswhite", compression=compression
    )
    found = read_grey(tmp_path / "map.tif")
    assert np.allclose(found * white, white - stored.astype(float), atol=0.01)


def test_maps_that_cannot_be_used_are_named(tmp_path):
    torn, deep = tmp_path / "torn.png", tmp_path / "deep.tif"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8)).save(torn)
    torn.write_bytes(torn.read_bytes()[:500])
    Image.fromarray(np.full((2, 2), 0.5, np.float32)).save(deep)
    for path in (torn, deep, tmp_path / "missing.png", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            read_grey(path)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_count_in_full(tmp_path, depth):
    highest = 2**depth - 1
    write_png(tmp_path / "map.png", (1, 1), depth, 0, bytes([0, highest << 8 - depth]))
    assert read_grey(tmp_path / "map.png").tolist() == [[1]]
    write_png(tmp_path / "map.png", (1, 1), depth, 0, bytes([0, 1 << 8 - depth]))
    assert read_grey(tmp_path / "map.png")[0, 0] == pytest.approx(1 / highest)


@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA"])
def test_maps_in_colours_are_refused(tmp_path, mode):
    picture = Image.fromarray(np.eye(4, 6, dtype=np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 128, 0, 0] + [0] * 762)
    picture.convert(mode).save(tmp_path / "map.png")
    with pytest.raises(UserError, match=r"map\.png has the colour \(128, 0, 0\), not only levels"):
        read_grey(tmp_path / "map.png")


def test_colours_that_no_pixel_has_and_a_tint_of_lossy_files_do_not_matter(tmp_path):
    picture = Image.fromarray(np.uint8([[0, 1]]), mode="P")
    picture.putpalette([0, 0, 0, 255, 255, 255] + [200, 0, 0] * 254)
    picture.save(tmp_path / "map.png")
    assert read_grey(tmp_path / "map.png").tolist() == [[0, 1]]
    Image.new("RGB", (2, 1), (100, 110, 90)).save(tmp_path / "map.png")
    assert read_grey(tmp_path / "map.png")[0, 0] == pytest.approx(105 / 255, abs=1 / 255)
