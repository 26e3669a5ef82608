"""File names and texts that are written in another way than where they are listed."""

import json
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.data.index import Index
from seedbed.formats.maps import Maps
from stages.command import run_stage
from stages.saliency import saliency
from tests.bad_input.case import HEIGHT, TAGS, WIDTH, Bad, case, pixels


def nfd(name: str) -> str:
    """A name as a Mac stores it."""
    return unicodedata.normalize("NFD", name)


def rename(path: Path, name: str) -> None:
    path.rename(path.with_name(name))


@case("names of a devkit's files in NFD, or in capitals")
def _(bad: Bad) -> None:
    bad.make_devkit()
    bad.listing("train_aug").write_text("tür\nt2\n")
    for path in sorted(bad.devkit.rglob("t1.*")):
        rename(path, nfd(f"tür{path.suffix.upper()}"))
    for path in sorted(bad.devkit.rglob("v1.*")):
        rename(path, path.name.upper())
    rename(bad.listing("val"), "val.TXT")
    index = Index.load(bad.converted() / "index.json")
    assert [(entry.id, entry.has_mask, entry.labels) for entry in index.images] == [
        ("tür", True, (1,)),
        ("t2", False, (2,)),
        ("v1", True, (1, 2)),
    ]
    assert set(Maps(bad.root / "out/masks.h5")) == {"tür", "v1"}


@case("names of images and masks of a folder in NFD, or in capitals")
def _(bad: Bad) -> None:
    settings = bad.make_folder("image,labels\nä.png,cat\nB,cat\n")
    rename(bad.data / "photos/images/a.png", nfd("ä.PNG"))
    rename(bad.data / "photos/masks/b.png", nfd("B.PNG"))
    index = Index.load(bad.converted(settings) / "index.json")
    assert [(entry.id, entry.split, entry.has_mask) for entry in index.images] == [
        ("ä", "train", False),
        ("b", "val", True),
    ]


@case("names of COCO's images in NFD, or in capitals")
def _(bad: Bad) -> None:
    image = {"id": 1, "file_name": "sub/ä.jpg"}
    settings = bad.make_coco(images=[image])
    (bad.data / "coco/train/sub").mkdir()
    (bad.data / "coco/train/a.jpg").rename(bad.data / "coco/train/sub" / nfd("Ä.JPG"))
    (entry,) = Index.load(bad.converted(settings) / "index.json").images
    assert (bad.data / entry.path).is_file() and entry.id == "ä"


@case("names of maps and masks that are given in NFD, or in capitals")
def _(bad: Bad) -> None:
    bad.when.add("saliency")
    index = bad.make_index()
    (bad.data / "maps").mkdir()
    Image.fromarray(np.full((HEIGHT, WIDTH), 7, np.uint8)).save(bad.data / "maps/T1.PNG")
    where = {"index": index, "output": bad.root / "out.h5", "data": bad.data}
    arguments = [part for key, path in where.items() for part in (f"--{key}", str(path))]
    params = json.dumps({"maps": "maps"})
    run_stage(saliency, [*arguments, "--shard", "1-of-1", "--params", params])
    assert (Maps(bad.root / "out.h5")["t1"] == 7).all()


@case("names of 250 bytes")
def _(bad: Bad) -> None:
    name = "ü" * 123  # and a suffix of four bytes
    settings = bad.make_folder(f"image,labels,split\na,cat,train\n{name},cat,val\n")
    rename(bad.data / "photos/images/b.png", f"{name}.png")
    rename(bad.data / "photos/masks/b.png", f"{name}.png")
    out = bad.converted(settings)
    assert (out / "masks" / f"{name}.png").is_file()
    assert Index.load(out / "index.json").entry(name).has_mask


@case("two files for one mask")
def _(bad: Bad) -> str:
    path = bad.make_devkit().masks / "v1.png"
    path.with_name("v1.PNG").write_bytes(path.read_bytes())
    return bad.not_converted()


@case("a file whose name fits two images, but for its case")
def _(bad: Bad) -> str:
    bad.make_devkit().listing("val").write_text("vx\nvX\n")
    for name in ("vx", "vX"):
        pixels().save(bad.images / f"{name}.jpg")
    rename(bad.masks / "v1.png", "vX.PNG")
    assert bad.not_converted().startswith("val image vx has no mask")
    rename(bad.masks / "vX.PNG", "VX.PNG")
    return bad.not_converted()


@case("two images of a table that differ in their suffix only")
def _(bad: Bad) -> str:
    settings = bad.make_folder("image,labels\nb.png,cat\nb.jpg,cat\n")
    pixels().save(bad.data / "photos/images/b.jpg")
    return bad.not_converted(settings)


@case("an annotation in GB2312, Shift_JIS, EUC-KR or Big5, which its first line states")
def _(bad: Bad) -> None:
    names = {
        "GB2312": "猫狗",
        "Shift_JIS": "ねこ髙",
        "EUC-KR": "고양이",
        "big5": "貓",
        "UTF-16": "猫",
    }
    bad.make_devkit()
    for image_id in ("t1", "v1"):
        bad.paint(image_id, 1)
    for encoding, name in names.items():
        head = f'<?xml version="1.0" encoding="{encoding}"?>'
        codec = {"Shift_JIS": "cp932"}.get(encoding, encoding)
        for image_id in TAGS:
            text = f"{head}<annotation><object><name>{name}</name></object></annotation>"
            (bad.devkit / f"Annotations/{image_id}.xml").write_bytes(text.encode(codec))
        index = Index.load(bad.converted() / "index.json")
        assert [info.name for info in index.classes] == [name]


@case("an annotation in another encoding than it states, or than UTF-8")
def _(bad: Bad) -> str:
    text = "<annotation><object><name>狗</name></object></annotation>"
    path = bad.make_devkit().devkit / "Annotations/t2.xml"
    path.write_bytes(f'<?xml version="1.0" encoding="EUC-KR"?>{text}'.encode())
    assert bad.not_converted().endswith(
        ": it states EUC-KR and is UTF-8; correct it, or get it again"
    )
    path.write_bytes(f'<?xml version="1.0" encoding="utf-8"?>{text}'.encode("gbk"))
    assert ": it is not in the encoding that it states, utf-8; save " in bad.not_converted()
    path.write_bytes(text.encode("gbk"))
    return bad.not_converted()
