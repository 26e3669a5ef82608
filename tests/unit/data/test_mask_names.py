"""Names for values and colours of masks, and what masks hold together."""

from pathlib import Path

import pytest

from seedbed.data.mask_check import (
    only_void,
    palette_problems,
    palettes_read_in_two_ways,
    palettes_that_differ,
)
from seedbed.data.mask_names import MaskNames, read_labelmap
from seedbed.formats.mask_coding import MaskForm
from seedbed.runtime.errors import UserError

RED, BLUE, BLACK = (255, 0, 0), (0, 0, 255), (0, 0, 0)


def form(name, *ids, kind="grey"):
    return MaskForm(Path(name), kind, {k: (k, k, k) for k in ids}, {k: k for k in ids})


def palette(name, **colours):
    by_index = {int(key[1:]): colour for key, colour in colours.items()}
    return MaskForm(Path(name), "palette", by_index, {k: k for k in by_index}, by_index=True)


def test_a_labelmap_is_read_as_cvat_writes_it(tmp_path):
    path = tmp_path / "labelmap.txt"
    path.write_bytes(
        b"\xef\xbb\xbf# label:color_rgb:parts:actions\r\nBackground:0,0,0::\r\n"
        b"big cat:255, 0,0:head,tail:run\r\n\r\n# end\r\nratio 1:2:0,0,255::\r\nplain:1,2,3"
    )
    assert read_labelmap(path) == {
        "background": BLACK, "big cat": RED, "ratio 1:2": BLUE, "plain": (1, 2, 3)
    }  # fmt: skip


@pytest.mark.parametrize(
    "line", ["cat", "cat::", "cat:1,2::", "cat:1,2,256::", ":1,2,3::", "cat:1,2,3\ncat:1,2,4"]
)
def test_other_lines_are_named(tmp_path, line):
    (tmp_path / "labelmap.txt").write_text(line)
    with pytest.raises(UserError, match=r"labelmap\.txt"):
        read_labelmap(tmp_path / "labelmap.txt")


def test_names_are_classes_background_or_void(tmp_path):
    values = MaskNames(values={7: "dog", 0: "background", 9: "void", 8: "dog"})
    assert values.coding(["cat", "dog"]).values == {7: 2, 0: 0, 9: 255, 8: 2}
    colours = MaskNames(colours={"cat": [255, 0, 0]}).coding(["cat", "dog"]).colours
    assert colours == {RED: 1, BLACK: 0, (224, 224, 192): 255}
    (tmp_path / "labelmap.txt").write_text("cat:255,0,0::\nmouse:0,0,255::\n")
    names = MaskNames(labelmap=tmp_path / "labelmap.txt")
    assert names.coding(["cat"]).colours == {RED: 1, BLUE: 255, BLACK: 0}
    assert names.notes(["cat"])[1].endswith("are no classes: void in masks: mouse")
    assert MaskNames().coding(["cat"]) is None and MaskNames().notes(["cat"]) == []


def test_void_alone_is_suspicious():
    assert only_void([form("a", 0), form("b", 0, 1)], "crack") == []
    assert only_void([form("a", 0, 1), form("b", 0, 255)], "crack") == []
    (problem,) = only_void([form("b", 0, 255), form("a", 255), form("c", 0)], "crack")
    assert problem.startswith("a and all masks beside it hold 255, which is void, and no class")
    assert only_void([], "crack") == []


def test_an_index_has_one_colour_in_all_masks():
    one = palette("a", i0=BLACK, i1=RED)
    assert palettes_that_differ([one, palette("b", i0=BLACK, i1=RED, i2=BLUE)]) == []
    assert palettes_that_differ([one, palette("b", i0=(0, 0, 0), i1=(1, 1, 1))]) == []
    assert palettes_that_differ([one, palette("b", i1=BLACK, i255=BLUE), form("c", 0, 1)]) == []
    (problem,) = palettes_that_differ([palette("b", i0=RED), one])  # a mask of one colour
    assert problem.startswith("the palettes of masks differ: index 0 is (255, 0, 0) in b and (0,")


def moved(name):
    """A mask of VOC's second colour at index 1."""
    return MaskForm(
        Path(name), "palette", {0: BLACK, 1: (0, 128, 0)}, {0: 0, 1: 2}, read_by_colour=True
    )


def test_palettes_of_a_folder_are_read_in_one_way():
    own, in_place = palette("m/b", i0=BLACK, i2=RED), palette("m/c", i0=BLACK, i1=(128, 0, 0))
    (problem,) = palette_problems([own, moved("m/a")])
    assert problem.startswith("mask m/a is read by the colours of its palette, which stand")
    assert "and m/b by its indices" in problem
    assert palettes_read_in_two_ways([moved("m/a"), moved("m/b"), in_place]) == []
    assert palettes_read_in_two_ways([own, in_place, form("m/d", 0, 2)]) == []
    assert palettes_read_in_two_ways([own, moved("other/a")]) == []
    grey = palette("m/d", i0=BLACK, i1=(1, 1, 1), i2=BLACK, i255=RED)  # says nothing
    assert palettes_read_in_two_ways([moved("m/a"), grey]) == []
