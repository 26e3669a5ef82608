"""`--check`: what a data set holds, all that is wrong with it; only a page is written."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedbed.data.check import disk_space, list_problems
from seedbed.data.index import ImageEntry
from seedbed.formats.masks import write_mask
from seedbed.runtime.errors import UserError
from stages.convert import check, convert
from stages.settings import ConvertSettings

ROOT = Path(__file__).parents[2]
FOLDER = {"folder": {"images": "images", "labels": "labels.csv", "masks": "masks"}}
SIZES = {"a": (4, 6), "b": (5, 5), "c": (4, 6), "d": (10, 8)}


@pytest.fixture(autouse=True)
def _page_is_written_here(tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("page"))


@pytest.fixture
def data(tmp_path):
    """A folder in order: three train images, and a val image with a mask of both classes."""
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for name, (height, width) in SIZES.items():
        Image.new("RGB", (width, height)).save(tmp_path / "images" / f"{name}.png")
    mask = np.zeros(SIZES["d"], np.uint8)
    mask[0], mask[1], mask[2] = 1, 2, 255
    write_mask(tmp_path / "masks" / "d.png", mask)
    write_table(tmp_path, "a,<script>", "b,<script> yak", "c,yak", "d,yak <script>")
    return tmp_path


def write_table(data, *rows):
    (data / "labels.csv").write_text("\n".join(["image,labels", *rows]) + "\n")


def said(data, capsys, settings=FOLDER, **options):
    """What a check in order prints."""
    check(settings=ConvertSettings(**settings), data=data, **options)
    return capsys.readouterr().out


def problems(data, capsys, settings=FOLDER):
    """The problems that a check prints, without the folder's name."""
    with pytest.raises(UserError) as caught:
        check(settings=ConvertSettings(**settings), data=data, workers=2)
    text = capsys.readouterr().out.replace(f"{data}/", "")
    found = [line.removeprefix("problem: ") for line in text.splitlines() if "problem:" in line]
    assert str(caught.value) == f"problems in the data set: {len(found)}; correct them first"
    return found


def test_images_without_a_class_and_classes_that_differ_in_capitals_are_noted(data, capsys):
    write_table(data, "a,Yak", "b,yak", "c,", "d,yak")
    text = said(data, capsys, {**FOLDER, "keep_negatives": True})
    assert "note: 1 train images have no class and count as background: c" in text
    assert "note: 2 classes are spelt like another one but for capitals: Yak, yak" in text


def test_classes_splits_masks_and_sizes_are_counted(data, capsys):
    lines = said(data, capsys).splitlines()
    assert lines[0] == "labels.csv: 2 classes, 3 train, 1 val, 0 test images in order"
    assert [line.split() for line in lines[1:4]] == [
        ["id", "class", "train", "val", "test", "masks"],
        ["1", "<script>", "2", "1", "0", "1"],
        ["2", "yak", "2", "1", "0", "1"],
    ]
    assert lines[4] == "masks: 1 palette with the indices 0, 1, 2, 255"
    assert lines[5].startswith("sizes: 6 x 4 to 8 x 10 pixels, median ")
    assert lines[6].startswith("disk: about ")
    assert lines[7:] == ["page: 4 images with their labels and masks in check.html"]


def test_what_is_no_error_is_noted(data, capsys):
    write_table(data, "a,<script>", "b,<script> yak", "d,yak")
    notes = [line for line in said(data, capsys).splitlines() if line.startswith("note: ")]
    assert len(notes) == 2
    assert notes[0].endswith("are left out: c.png")
    assert notes[1] == "note: 1 masks hold a class that the labels lack: d"
    write_mask(data / "masks" / "d.png", np.zeros(SIZES["d"], np.uint8))
    assert "note: 1 masks lack a class that the labels have: d" in said(data, capsys)


def test_images_of_twelve_bits_are_noted(data, capsys):
    levels = np.full(SIZES["a"], 4000, np.uint16)
    Image.fromarray(levels).save(data / "images" / "a.png")
    expected = (
        "note: 1 images of 16 bits a channel use only the lower 12 and are read nearly black: set "
        "convert.bits to 12 if the camera has so many: a"
    )
    assert expected in said(data, capsys).splitlines()
    assert "nearly black" not in said(data, capsys, {**FOLDER, "bits": 12})
    outputs = ("index", "input_list", "masks", "mask_folder", "summary")
    convert(
        **{name: data / "out" / name for name in outputs},
        settings=ConvertSettings(**FOLDER),
        data=data,
    )
    assert expected in capsys.readouterr().out.splitlines()


def test_without_masks_nothing_can_be_scored(data, capsys):
    alone = {"folder": {**FOLDER["folder"], "masks": None}}
    text = said(data, capsys, alone)
    assert "note: there is no val image: set evaluate.split to train" in text
    assert "note: there is no mask, so nothing can be scored" in text


def test_all_that_is_wrong_is_told_at_once(data, capsys):
    (data / "images" / "a.png").write_bytes(b"no image")
    write_mask(data / "masks" / "d.png", np.full((2, 2), 1, np.uint8))
    write_table(data, "a,<script>", "b,", "gone,yak", "d,yak", "c,<script>")
    found = problems(data, capsys)
    expected = [
        r"row 4 of labels\.csv: there is no image 'gone' in images: ",
        r"row 3 of labels\.csv: train image b has no label: ",
        r"no train image has a yak in labels\.csv: ",
        r"cannot read the image images/a\.png: ",
        r"mask masks/d\.png is \(2, 2\), its image \(10, 8\): ",
    ]
    assert len(found) == len(expected)
    for line, pattern in zip(found, expected, strict=True):
        assert re.match(pattern, line), line


def test_a_table_that_cannot_be_read_ends_the_check(data, capsys):
    (data / "labels.csv").write_text("picture;labels\n")
    (line,) = problems(data, capsys)
    assert line.startswith("row 1 of labels.csv is 'picture;labels'")


def test_problems_before_one_that_ends_the_check_are_told_too(data, capsys):
    write_table(data, "gone,yak", "a,a\x07")
    first, second = problems(data, capsys)
    assert first.startswith("row 2 of labels.csv") and second.startswith(r"'a\x07' cannot")


def test_many_problems_are_counted():
    text = list_problems([f"row {k}:\n wrong" for k in range(25)])
    assert text.splitlines()[0] == "problem: row 0: wrong"
    assert len(text.splitlines()) == 21 and text.endswith("and 5 more")


def test_a_split_that_all_rows_are_of_leaves_nothing_to_train_on(data, capsys):
    write_table(data, "d,yak")
    assert problems(data, capsys)[0].startswith("no image of labels.csv is a train image")


def test_a_devkit_and_coco_are_checked_in_the_same_words(data, capsys):
    found = {"images": [{"id": 1, "file_name": "images/a.png"}, {"id": 2, "file_name": "b.png"}],
             "categories": [{"id": 1, "name": "yak"}],
             "annotations": [{"image_id": k, "category_id": 1} for k in (1, 2)]}  # fmt: skip
    (data / "train.json").write_text(json.dumps(found))
    coco = {"coco": {"instances": "train.json", "images": "."}}
    (line,) = problems(data, capsys, coco)
    assert line.startswith("image b.png is missing")
    (line,) = problems(data, capsys, {"devkit": "none"})
    assert line.startswith("there is no folder none")


def test_disk_space_grows_with_pixels_tags_and_rounds(data, capsys):
    def entry(split, labels, side=1000):
        return ImageEntry("a", "a.jpg", side, side, labels, split, True, "")

    before, each = disk_space([entry("train", (1,)), entry("val", (1, 2))])
    assert 1e6 < before < 4e6  # train images alone
    assert 12e6 < each < 18e6
    assert disk_space([entry("train", (1,), 2000)])[1] == 4 * disk_space([entry("train", (1,))])[1]
    Image.new("RGB", (3000, 2000)).save(data / "images" / "a.png")
    totals = [
        float(re.search(r"disk: about (\S+) GB for", said(data, capsys, rounds=n))[1])
        for n in (1, 10)
    ]
    assert 5 < totals[1] / totals[0] < 10


def test_the_command_writes_its_page_alone(data, tmp_path):
    def run(settings):
        call = [sys.executable, "-m", "stages.convert", "--check", "--params", json.dumps(settings)]
        before = sorted(tmp_path.rglob("*"))
        ended = subprocess.run(
            [*call, "--data", str(data), "--page", str(tmp_path / "page.html")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert set(tmp_path.rglob("*")) == {*before, tmp_path / "page.html"}
        return ended

    good = run(FOLDER)
    assert good.returncode == 0 and good.stdout.startswith("labels.csv: 2 classes"), good.stderr
    (data / "masks" / "d.png").unlink()
    (data / "labels.csv").write_text("image,labels,split\na,yak,train\nd,yak,val\n")
    bad = run(FOLDER)
    assert bad.returncode == 1
    assert "problem: row 3 of " in bad.stdout
    assert "labels.csv: val image d has no mask d.png: paint one" in bad.stdout
    assert bad.stderr == (
        "python -m stages.convert: error: problems in the data set: 1; correct them first\n"
    )
