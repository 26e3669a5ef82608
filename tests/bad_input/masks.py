"""Masks in the forms that annotation tools and editors give them."""

import json
import struct
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seedbed.formats.maps import Maps
from seedbed.formats.palette import VOC_PALETTE
from stages.command import run_stage
from stages.convert import check
from tests.bad_input.case import CAT, CONVERT, DOG, HEIGHT, WIDTH, Bad, case, pixels
from tests.bad_input.images import write_png
from tests.bad_input.own_data import GOOD, HEAD

CRACKS = GOOD.replace("cat", "crack")
LABELMAP = """\
# label:color_rgb:parts:actions
background:0,0,0::
dog:128,0,0::
cat:0,128,0:head,tail:
mouse:255,255,255::
"""
IDS = np.zeros((HEIGHT, WIDTH), np.uint8)  # what a mask should be read as
IDS[1:3] = 1
IDS[4] = 255


def paint_folder(bad: Bad, pixels: np.ndarray, table: str = GOOD) -> dict[str, Any]:
    """A folder whose only mask, b.png, has these pixels; returns the settings of convert."""
    settings = bad.make_folder(table)
    Image.fromarray(pixels).save(bad.data / "photos/masks/b.png")
    return settings


def show_each(bad: Bad, *shown: str) -> tuple[dict[str, Any], list[Path]]:
    """A folder with a val image of each class named.

    Returns the settings of convert, and where the masks belong.
    """
    settings = bad.make_folder(f"{HEAD}a,{' '.join(sorted({*shown}))},train\n")
    folder = bad.data / "photos/masks"
    (folder / "b.png").unlink()
    for k, name in enumerate(shown):
        pixels().save(bad.data / f"photos/images/v{k}.png")
        with (bad.data / "photos/labels.csv").open("a") as table:
            table.write(f"v{k},{name},val\n")
    return settings, [folder / f"v{k}.png" for k, _ in enumerate(shown)]


def of_folder(bad: Bad, settings: dict[str, Any]) -> np.ndarray:
    """The mask b of a folder as it is converted."""
    return Maps(bad.converted(settings) / "masks.h5")["b"]


def of_devkit(bad: Bad, image_id: str = "v1") -> np.ndarray:
    """A mask of a devkit as it is converted."""
    return Maps(bad.converted() / "masks.h5")[image_id]


def with_palette(path: Path, indices: np.ndarray, *colours: tuple[int, int, int]) -> None:
    """A palette PNG."""
    image = Image.fromarray(indices.astype(np.uint8))
    image.putpalette(np.uint8(colours).tobytes())
    image.save(path)


def checked(bad: Bad, settings: dict[str, Any]) -> str:
    """What a check in order prints."""
    with redirect_stdout(StringIO()) as said:
        run_stage(check, ["--params", json.dumps(settings), "--data", str(bad.data)])
    return said.getvalue()


@case("masks of the values 0 and 255 alone")
def _(bad: Bad) -> str:
    return bad.not_converted(paint_folder(bad, (IDS == 1) * np.uint8(255), CRACKS))


@case("masks whose values, or another void, are named in `mask_values`")
def _(bad: Bad) -> None:
    pixels = np.select([IDS == 1, IDS == 255], [255, 254], 0).astype(np.uint8)
    settings = paint_folder(bad, pixels, CRACKS)
    values = {"0": "background", "255": "crack", "254": "void"}
    for named in (values, {k: name for k, name in values.items() if name != "void"}):
        settings["mask_values"] = named
        np.testing.assert_array_equal(of_folder(bad, settings), IDS)
        assert "masks: 1 grey with the values 0, 254, 255\n" in checked(bad, settings)


@case("masks whose colours are named in `mask_colours`, or in a labelmap.txt of CVAT")
def _(bad: Bad) -> None:
    settings = paint_folder(bad, np.uint8([(0, 0, 0), (0, 128, 0)])[(IDS == 1).astype(int)])
    settings["mask_colours"] = {"cat": [0, 128, 0]}
    assert (of_folder(bad, settings) == (IDS == 1)).all()
    (bad.data / "photos/labelmap.txt").write_text(LABELMAP)  # in which VOC's order is not ours
    for colours in (None, "photos/labelmap.txt"):
        settings["mask_colours"] = colours
        assert (of_folder(bad, settings) == (IDS == 1)).all()
    said = checked(bad, settings)
    assert "note: 2 names in " in said and said.count("labelmap.txt") == 2


@case("a palette mask with VOC's colours at other indices, as a program has saved it anew")
def _(bad: Bad) -> None:
    black, cat, void = (tuple(VOC_PALETTE[k].tolist()) for k in (0, CAT, 255))
    path = bad.make_devkit().masks / "v1.png"
    with_palette(path, np.select([IDS == 1, IDS == 255], [0, 2], 1), cat, black, void)
    np.testing.assert_array_equal(of_devkit(bad), IDS)
    said = checked(bad, {"devkit": "VOCdevkit/VOC2012"})
    assert "note: 1 palette masks are read by their colours, which stand at other indices" in said


@case("a palette mask with some of VOC's colours at other indices")
def _(bad: Bad) -> str:
    colours = (0, 0, 0), VOC_PALETTE[CAT], (255, 255, 255)
    with_palette(bad.make_devkit().masks / "v1.png", np.minimum(IDS, 2), *colours)
    return bad.not_converted()


@case("a palette mask of grey levels that are not the indices")
def _(bad: Bad) -> None:
    settings = bad.make_folder(GOOD)
    indices, path = np.select([IDS == 1, IDS == 255], [2, 1], 0), bad.data / "photos/masks/b.png"
    with_palette(path, indices, (0, 0, 0), (255, 255, 255), (1, 1, 1))
    np.testing.assert_array_equal(of_folder(bad, settings), IDS)
    assert "note: 1 palette masks are read by their colours" in checked(bad, settings)
    with_palette(path, IDS % 255, (0, 0, 0), (255, 255, 255))  # black and white are no levels
    assert (of_folder(bad, settings) == IDS % 255).all()


@case("such a mask, both of whose levels and indices are classes")
def _(bad: Bad) -> str:
    settings = bad.make_folder(GOOD.replace("a,cat,", "a,cat dog,"))
    with_palette(bad.data / "photos/masks/b.png", IDS % 255, (0, 0, 0), (2, 2, 2))
    return bad.not_converted(settings)


@case("palettes of own colours that differ between masks")
def _(bad: Bad) -> str:
    bad.make_devkit()
    with_palette(bad.masks / "t1.png", IDS % 255, (0, 0, 0), (255, 0, 0))
    with_palette(bad.masks / "v1.png", IDS % 255, (0, 0, 0), (0, 0, 255))
    return bad.not_converted()


@case("a palette that is read by VOC's colours, beside one that can only be by its indices")
def _(bad: Bad) -> str:
    settings, (one, other) = show_each(bad, "cat", "dog")
    with_palette(one, (IDS == 1) * 2, (0, 0, 0), VOC_PALETTE[2], VOC_PALETTE[1])
    with_palette(other, (IDS == 1) * 2, (0, 0, 0), (255, 0, 0), (0, 0, 255))
    return bad.not_converted(settings)


@case("own colours that are VOC's by chance, some of them not of VOC's classes of the same number")
def _(bad: Bad) -> None:
    settings, paths = show_each(bad, "cat", "dog", "yak")
    for k, path in enumerate(paths, 1):  # with three classes, 4 is none
        with_palette(path, (IDS == 1) * k, *VOC_PALETTE[[0, 4, 1, 2]])
    with Maps(bad.converted(settings) / "masks.h5") as found:
        assert [int(found[path.stem][1, 0]) for path in paths] == [1, 2, 3]
    assert "note" not in checked(bad, settings).replace("note: 1 images in ", "")


@case("own colours that are all VOC's by chance, as labels that fit the indices show")
def _(bad: Bad) -> str:
    settings, paths = show_each(bad, "cat", "dog", "owl", "yak")
    for k, path in enumerate(paths, 1):  # VOC's third and fourth colour are olive and dark blue
        with_palette(path, (IDS == 1) * k, *VOC_PALETTE[[0, 1, 2, 4, 3]])
    return bad.not_converted(settings)


@case("a grey mask of 1, 2 or 4 bits")
def _(bad: Bad) -> None:
    bad.make_devkit()
    rows = {1: b"\0\x0f", 2: b"\0\x00\x55", 4: b"\0\x00\x00\x11\x11"}
    for image_id in ("t1", "v1"):
        bad.annotate(image_id, "<annotation><object><name>aeroplane</name></object></annotation>")
    bad.paint("t1", 1)
    for depth, row in rows.items():
        write_png(bad.masks / "v1.png", (WIDTH, HEIGHT), depth, 0, row * HEIGHT)
        found = of_devkit(bad)
        assert found.tolist() == [[0] * 4 + [1] * 4] * HEIGHT, depth


@case("a grey mask of 16 bits, or saved as RGB or with an opaque alpha channel, or as BMP, TIFF or"
      " GIF")  # fmt: skip
def _(bad: Bad) -> None:
    settings = bad.make_folder(GOOD)
    grey, folder = Image.fromarray(IDS), bad.data / "photos/masks"
    for mode in ("RGB", "RGBA", "LA", "P"):
        grey.convert(mode).save(folder / "b.png")
        np.testing.assert_array_equal(of_folder(bad, settings), IDS)
    for kind in (np.uint16, np.int32):
        Image.fromarray(IDS.astype(kind)).save(folder / "b.png", "TIFF")
        np.testing.assert_array_equal(of_folder(bad, settings), IDS)
    Image.fromarray(IDS.astype(np.uint16)).save(folder / "b.png")
    np.testing.assert_array_equal(of_folder(bad, settings), IDS)
    (folder / "b.png").unlink()
    for suffix in ("bmp", "tif", "gif"):
        grey.save(folder / f"b.{suffix}")
        np.testing.assert_array_equal(of_folder(bad, settings), IDS)
        (folder / f"b.{suffix}").unlink()


@case("a mask with transparent pixels")
def _(bad: Bad) -> str:
    Image.new("RGBA", (WIDTH, HEIGHT)).save(bad.make_devkit().masks / "v1.png")
    return bad.not_converted()


@case("a mask of 16 bits a colour")
def _(bad: Bad) -> str:
    row = b"\0" + struct.pack(">24H", *[1] * 24)
    write_png(bad.make_devkit().masks / "v1.png", (WIDTH, HEIGHT), 16, 2, row * HEIGHT)
    return bad.not_converted()


@case("a mask as JPEG")
def _(bad: Bad) -> str:
    settings = bad.make_folder(GOOD)
    folder = bad.data / "photos/masks"
    (folder / "b.png").unlink()
    Image.fromarray(IDS).save(folder / "b.jpg")
    assert "/b.jpg is a JPEG with lossy compression" in bad.not_converted(settings)
    (bad.root / "out").rmdir()
    Image.fromarray(IDS).save(bad.make_devkit().masks / "v1.png", "JPEG")
    return bad.not_converted()


@case("a value above 255 without a name")
def _(bad: Bad) -> str:
    pixels = IDS.astype(np.uint16)
    pixels[0] = 300
    Image.fromarray(pixels).save(bad.make_devkit().masks / "v1.png")
    return bad.not_converted()


@case("masks that count the classes from 0")
def _(bad: Bad) -> str:
    bad.make_devkit()
    bad.annotate("t1", "<annotation><object><name>aeroplane</name></object></annotation>")
    bad.annotate("v1", "<annotation><object><name>dog</name></object></annotation>")
    bad.paint("t1", 0)
    bad.paint("v1", DOG - 1)
    return bad.not_converted()


@case("masks that number VOC's classes 1, 2, 3 … instead of 1 to 20 as VOC does")
def _(bad: Bad) -> str:
    bad.make_devkit()
    bad.paint("t1", 1)
    bad.paint("v1", 2)
    line = bad.not_converted()
    named = {**CONVERT, "mask_values": {0: "background", 1: "cat", 2: "dog"}}
    with Maps(bad.converted(named) / "masks.h5") as found:
        assert [int(found[one][0, 0]) for one in ("t1", "v1")] == [1, 2]
    bad.paint("v1", DOG)  # one known id, and masks are read as they are
    assert of_devkit(bad).max() == 2 and of_devkit(bad, "t1").min() == 255
    return line


@case("masks with the classes in another order, though one of them has the same number")
def _(bad: Bad) -> str:
    settings, paths = show_each(bad, *["wheel", "axle", "zip"] * 3)
    for k, path in enumerate(paths):
        Image.fromarray((IDS == 1) * np.uint8(1 + k % 3)).save(path)
    line = bad.not_converted(settings)
    in_order = {**settings, "classes": ["wheel", "axle", "zip"]}
    assert int(Maps(bad.converted(in_order) / "masks.h5")["v1"][1, 0]) == 2
    return line


@case("masks of which more than half show no class of their images' labels")
def _(bad: Bad) -> str:
    settings, paths = show_each(bad, "cat", "cat", "dog", "cat")
    for k, path in zip((1, 2, 1, 2), paths, strict=True):
        Image.fromarray((IDS == 1) * np.uint8(k)).save(path)
    return bad.not_converted(settings)


@case("a value that `mask_values` does not name")
def _(bad: Bad) -> str:
    settings = paint_folder(bad, IDS)
    return bad.not_converted({**settings, "mask_values": {254: "cat"}})


@case("a colour that `mask_colours` does not name")
def _(bad: Bad) -> str:
    settings = paint_folder(bad, IDS % 255)
    return bad.not_converted({**settings, "mask_colours": {"cat": [255, 0, 0]}})


@case("an unknown name in `mask_values` or `mask_colours`")
def _(bad: Bad) -> str:
    return bad.not_converted({**paint_folder(bad, IDS), "mask_values": {255: "crakc"}})


@case("one colour for two names")
def _(bad: Bad) -> str:
    colours = {"background": [0, 0, 0], "cat": [0, 0, 0]}
    return bad.not_converted({**paint_folder(bad, IDS), "mask_colours": colours})


@case("a labelmap.txt that lacks a class, or has another line")
def _(bad: Bad) -> str:
    settings = {**paint_folder(bad, IDS), "mask_colours": "labelmap.txt"}
    (bad.data / "labelmap.txt").write_text("dog:0,0,1::\n")
    assert bad.not_converted(settings) == (
        "data/labelmap.txt has no colour of 'cat': add a line for it"
    )
    (bad.data / "labelmap.txt").write_text("cat 255,0,0\n")
    return bad.not_converted(settings)


@case("both `mask_values` and `mask_colours`")
def _(bad: Bad) -> str:
    return bad.config(convert={"mask_values": {1: "a"}, "mask_colours": {"a": [1, 1, 1]}})


@case("a colour in `mask_colours` that is none")
def _(bad: Bad) -> str:
    line = bad.config(convert={"mask_colours": ["crack"]})
    assert "convert.mask_colours: give a colour [r, g, b] by name, or the path of a" in line
    return bad.config(convert={"mask_colours": {"crack": [255, 0]}})
