"""What values and colours in mask files mean."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from seedbed.data.images import read_image
from seedbed.formats.mask_coding import MaskCoding, MaskReader
from seedbed.formats.masks import read_mask
from seedbed.formats.palette import VOC_PALETTE
from seedbed.runtime.errors import UserError
from tests.bad_input.images import write_png

BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)
CAT, DOG = (tuple(VOC_PALETTE[k].tolist()) for k in (8, 12))
VOC, OWN = MaskReader(20, is_voc=True), MaskReader(2)


def write_palette(path, indices, colours):
    """A palette PNG of one row."""
    image = Image.fromarray(np.uint8([indices]))
    image.putpalette(np.uint8(colours).tobytes())
    image.save(path)


def read_palette(tmp_path, indices, colours, reader):
    write_palette(tmp_path / "a.png", indices, colours)
    mask, form = reader.read(tmp_path / "a.png")
    return mask[0].tolist(), form


@pytest.mark.parametrize("reader", [VOC, OWN])
@pytest.mark.parametrize(
    "palette",
    [
        VOC_PALETTE,
        [*VOC_PALETTE[:21], *[BLACK] * 235],  # filled up, so that void is black
        [BLACK] * 256,
        [(k, k, k) for k in range(256)],
        [BLACK, RED, BLUE, *[BLACK] * 252, WHITE],
        [BLACK, RED, RED, *[BLACK] * 253],
    ],
    ids=["VOC", "short", "none", "grey", "own", "one colour"],
)
def test_indices_are_ids_where_the_colours_are_in_place_or_say_nothing(tmp_path, palette, reader):
    found, form = read_palette(tmp_path, [0, 1, 2, 255], palette, reader)
    assert found == [0, 1, 2, 255] and not form.read_by_colour and form.by_index
    found, form = read_palette(tmp_path, [0, 2], palette, reader)
    assert found == [0, 2] and form.ids == {0: 0, 2: 2} and not form.read_by_colour


@pytest.mark.parametrize("order", [[BLACK, CAT, DOG], [DOG, BLACK, CAT], [CAT, DOG, BLACK]])
def test_vocs_colours_count_wherever_they_stand(tmp_path, order):
    indices = [order.index(colour) for colour in (BLACK, DOG, CAT, DOG)]
    found, form = read_palette(tmp_path, indices, order, VOC)
    assert found == [0, 12, 8, 12] and form.read_by_colour


def test_colours_decide_for_own_classes_only_if_they_are_ids(tmp_path):
    first, second = VOC_PALETTE[[1, 2]]
    assert read_palette(tmp_path, [0, 1, 2], [BLACK, second, first], OWN)[0] == [0, 2, 1]
    assert read_palette(tmp_path, [0, 1, 2], [BLACK, VOC_PALETTE[4], first], OWN)[0] == [0, 1, 2]


@pytest.mark.parametrize("indices", [[0, 1, 2, 3], [0, 2, 3], [0, 2], [0, 1], [2], [0, 2, 255]])
@pytest.mark.parametrize("fill", [[], [BLACK] * 252, [*[BLACK] * 251, WHITE]])
def test_own_colours_that_are_vocs_by_chance_are_read_alike_in_all_masks(tmp_path, indices, fill):
    """Of dark blue, red and green, VOC's 4, 1 and 2, only the last two are ids."""
    colours = [BLACK, *VOC_PALETTE[[4, 1, 2]].tolist(), *fill]
    colours += [BLACK] * (256 - len(colours)) * (255 in indices)
    found, form = read_palette(tmp_path, indices, colours, MaskReader(3))
    assert found == indices and form.by_index and not form.read_by_colour


def test_colours_that_do_not_occur_count_too(tmp_path):
    colours = [BLACK, *VOC_PALETTE[[1, 2, 4, 3]]]
    reader = MaskReader(4)
    found, form = read_palette(tmp_path, [0, 1, 2, 3, 4], colours, reader)
    assert found == [0, 1, 2, 4, 3] and form.read_by_colour
    found, form = read_palette(tmp_path, [0, 1, 2], colours, reader)
    assert found == [0, 1, 2] and not form.read_by_colour and form.ids == {0: 0, 1: 1, 2: 2}
    with pytest.raises(UserError, match=r"the colour \(0, 0, 0\) of VOC's 0 at index 1"):
        read_palette(tmp_path, [0, 2], [RED, BLACK, BLUE], OWN)


def test_indices_that_are_no_ids_leave_the_colours_that_occur(tmp_path):
    first, second = VOC_PALETTE[[1, 2]]
    colours = [BLACK, WHITE, WHITE, second, first]
    assert read_palette(tmp_path, [0, 3, 4], colours, OWN)[0] == [0, 2, 1]
    assert read_palette(tmp_path, [0, 1, 2], [BLACK, second, WHITE], OWN)[0] == [0, 1, 2]


@pytest.mark.parametrize(
    ("colours", "reader"),
    [
        ([BLACK, CAT, WHITE], VOC),
        ([RED, BLACK, BLUE], OWN),  # background sorted behind a class
        ([WHITE, BLACK, WHITE], OWN),
        ([BLACK, (2, 2, 2), (1, 1, 1)], OWN),
    ],
)
def test_palettes_that_can_be_read_in_two_ways_are_refused(tmp_path, colours, reader):
    with pytest.raises(UserError, match=r"a\.png has the (colour|levels) .*convert\.mask_values"):
        read_palette(tmp_path, [0, 1, 2], colours, reader)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["P", "L", "RGB", "LA", "I;16"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_masks_are_turned_as_their_images_are(tmp_path, orientation, mode, suffix):
    ids = np.uint8([[0, 8, 12, 255], [8, 8, 0, 0]])
    mask, exif = Image.fromarray(ids.astype(np.uint16) if mode == "I;16" else ids), Image.Exif()
    if mode == "P":
        mask.putpalette(VOC_PALETTE.tobytes())
    exif[0x0112] = orientation
    mask.convert(mode).save(tmp_path / f"mask.{suffix}", exif=exif)
    Image.fromarray(ids).save(tmp_path / "image.png", exif=exif)
    found, form = VOC.read(tmp_path / f"mask.{suffix}")
    np.testing.assert_array_equal(found, read_image(tmp_path / "image.png")[..., 0])
    assert found.shape == ((2, 4) if orientation < 5 else (4, 2))
    if mode == "P":
        assert form.kind == "palette" and form.colours[12] == DOG


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_levels_are_ids_where_0_is_white_too(tmp_path, kind):
    ids = np.array([[0, 1, 2, 255]], kind)
    tifffile.imwrite(tmp_path / "a.tif", ~ids, photometric="miniswhite")
    assert read_mask(tmp_path / "a.tif").tolist() == ids.tolist()


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_grey_of_few_bits_holds_its_values(tmp_path, depth):
    highest = 2**depth - 1
    write_png(tmp_path / "a.png", (1, 1), depth, 0, bytes([0, highest << 8 - depth]))
    assert read_mask(tmp_path / "a.png").tolist() == [[highest]]
    write_png(tmp_path / "a.png", (1, 1), depth, 0, bytes([0, 1 << 8 - depth]))
    assert read_mask(tmp_path / "a.png").tolist() == [[1]]


@pytest.mark.parametrize("values", [{0: 0, 255: 1}, {0: 0, 1: 1}, {255: 0, 0: 1, 7: 255}])
@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "LA", "RGBA", "I;16"])
def test_own_values_are_found_however_a_program_saves_them(tmp_path, values, mode):
    background, crack = (next(v for v, k in values.items() if k == wanted) for wanted in (0, 1))
    grey = np.uint8([[background, crack, crack]])
    if mode == "1" and 1 in values:  # one bit that holds 0 and 1
        write_png(tmp_path / "a.png", (3, 1), 1, 0, b"\0\x60")
    elif mode == "I;16":
        Image.fromarray(grey.astype(np.uint16)).save(tmp_path / "a.png")
    else:
        Image.fromarray(grey).convert(mode).save(tmp_path / "a.png")
    reader = MaskReader(1, coding=MaskCoding(values=values))
    assert reader.read(tmp_path / "a.png")[0].tolist() == [[0, 1, 1]]


def test_own_values_that_can_be_read_in_two_ways_are_refused(tmp_path):
    write_palette(tmp_path / "a.png", [0, 1], [WHITE, BLACK])
    reader = MaskReader(1, coding=MaskCoding(values={0: 0, 1: 1, 255: 1}))
    with pytest.raises(UserError, match=r"\[0, 1\] are shown as the levels \[255, 0\]"):
        reader.read(tmp_path / "a.png")
    write_palette(tmp_path / "a.png", [0, 1], [BLACK, RED])
    assert reader.read(tmp_path / "a.png")[0].tolist() == [[0, 1]]
    Image.new("RGB", (1, 1), RED).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"name them in convert\.mask_colours instead"):
        reader.read(tmp_path / "a.png")


def test_values_of_16_bits_can_be_named(tmp_path):
    Image.fromarray(np.uint16([[0, 65535, 300]])).save(tmp_path / "a.png")
    reader = MaskReader(2, coding=MaskCoding(values={0: 0, 300: 1, 65535: 2}))
    assert reader.read(tmp_path / "a.png")[0].tolist() == [[0, 2, 1]]
    with pytest.raises(UserError, match="holds the value 65535, and ids end at 255"):
        read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "1"])
def test_own_colours_count_in_every_mode(tmp_path, mode):
    coding = MaskCoding.of_colours({WHITE: 1})
    Image.fromarray(np.uint8([[0, 255]])).convert(mode).save(tmp_path / "a.png")
    assert MaskReader(1, coding=coding).read(tmp_path / "a.png")[0].tolist() == [[0, 1]]
    Image.fromarray(VOC_PALETTE[[[255, 0]]]).save(tmp_path / "a.png")
    assert MaskReader(1, coding=coding).read(tmp_path / "a.png")[0].tolist() == [[255, 0]]


def test_background_and_void_have_other_colours_if_theirs_are_classes():
    void = tuple(VOC_PALETTE[255].tolist())
    coding = MaskCoding.of_colours({BLACK: 1, void: 2, RED: 0})
    assert coding.colours.pop(tuple(VOC_PALETTE[254].tolist())) == 255
    assert coding.colours == {BLACK: 1, void: 2, RED: 0}


def test_levels_in_rgb_are_ids_and_vocs_greys_are_vocs(tmp_path):
    for levels, ids in (([0, 1, 255], [0, 1, 255]), ([0, 128], [0, 7])):
        Image.fromarray(np.uint8([levels])).convert("RGB").save(tmp_path / "a.png")
        assert read_mask(tmp_path / "a.png").tolist() == [ids]


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [
        ("a.tif", np.float32([[0.5]]), "no whole numbers"),
        ("a.tif", np.int32([[-1]]), "no whole numbers"),
        ("a.webp", np.uint8([[1]]), "is a WEBP with lossy compression"),
    ],
)
def test_files_that_hold_no_exact_ids_are_refused(tmp_path, name, pixels, message):
    Image.fromarray(pixels).save(tmp_path / name)
    with pytest.raises(UserError, match=message):
        read_mask(tmp_path / name)


def test_several_pictures_and_lossy_tiffs_are_refused(tmp_path):
    image = Image.fromarray(np.uint8([[0, 1]] * 8).repeat(4, 1))
    image.save(tmp_path / "a.tif", save_all=True, append_images=[image])
    image.save(tmp_path / "b.tif", compression="jpeg")
    for name, message in (("a.tif", "holds 2 pictures"), ("b.tif", "is a TIFF with lossy")):
        with pytest.raises(UserError, match=message):
            read_mask(tmp_path / name)


@pytest.mark.parametrize("colour", [4, 6], ids=["LA", "RGBA"])
def test_16_bit_masks_with_alpha_are_not_read_by_their_upper_bits(tmp_path, colour):
    channels = {4: 2, 6: 4}[colour]
    row = b"\0" + b"\0\1" * (channels - 1) + b"\xff\xff"
    write_png(tmp_path / "a.png", (1, 1), 16, colour, row)
    with pytest.raises(UserError, match="has 16 bits a channel"):
        read_mask(tmp_path / "a.png")


@pytest.mark.parametrize("values", [{0: 0, 255: 8, 1: 1}, {2: 8}, {0: 8, 300: 1}])
def test_a_class_without_a_value_is_written_as_one_that_means_nothing_else(values):
    written = MaskCoding(values=values).value_of.tolist()
    assert len(set(written)) == 256
    assert {value: written.index(value) for value in values} == values


def test_a_class_without_a_colour_is_written_in_one_that_means_nothing_else():
    red, black = tuple(VOC_PALETTE[1].tolist()), (0, 0, 0)
    written = list(map(tuple, MaskCoding.of_colours({red: 8, black: 12}).colour_of.tolist()))
    assert len(set(written)) == 256
    assert written.index(red) == 8 and written.index(black) == 12


def test_a_coding_survives_json():
    for coding in (MaskCoding(values={0: 0, 255: 1}), MaskCoding.of_colours({RED: 1})):
        assert MaskCoding.from_json(coding.to_json()) == coding
