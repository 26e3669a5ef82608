"""The page of the check: which images it shows, and what it says of them."""

import base64
import io
import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from seedbed.data.index import ImageEntry
from seedbed.formats.masks import write_mask
from seedbed.formats.palette import VOC_PALETTE
from seedbed.report.check_page import choose
from seedbed.runtime.errors import UserError
from stages.command import run_stage
from stages.convert import check, convert
from stages.settings import ConvertSettings
from tests.support.workflow_helpers import ROOT
from workflow.digests import CodeDigest

SETTINGS = {"folder": {"images": "images", "labels": "labels.csv", "masks": "masks"}}


def checked(split, classes, count, *, masks=True):
    """`count` images of a split for each class."""
    entries = (
        ImageEntry(f"{split} {c} {k}", "", 4, 4, (c,), split, masks, "")
        for c in classes
        for k in range(count)
    )
    return [(entry, entry.labels if masks else None) for entry in entries]


def test_images_are_chosen_evenly_over_splits_and_classes():
    images = checked("train", [1, 2, 3, 4], 50, masks=False) + checked("val", [1, 2, 3, 4], 5)
    chosen = choose(images, 24)
    counts = Counter((entry.split, entry.labels) for entry in chosen)
    assert set(counts.values()) == {3} and len(counts) == 8
    assert chosen == choose(images, 24) and [e for e, _ in images if e in chosen] == chosen
    numbers = [int(entry.id.split()[-1]) for entry in chosen if entry.split == "train"]
    assert min(numbers) < 5 and max(numbers) > 25, "not the first of each class"


def test_few_images_are_all_shown_and_many_classes_are_sampled():
    few = checked("val", [1, 2], 3)
    assert choose(few, 24) == [entry for entry, _ in few]
    chosen = choose(checked("train", range(1, 81), 9) + checked("val", range(1, 81), 2), 24)
    assert len({(entry.split, entry.labels) for entry in chosen}) == 24
    assert {entry.split for entry in chosen} == {"train", "val"}


def test_images_with_a_mask_come_first_and_negatives_have_their_turn():
    bare, masked = checked("train", [1], 40, masks=False), checked("train", [1], 4)
    negative = [(ImageEntry("n", "", 4, 4, (), "train", False, ""), None)]
    chosen = choose(bare + masked + negative, 5)
    assert {entry.id for entry in chosen} == {"n", *(entry.id for entry, _ in masked)}


@pytest.fixture
def data(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    photo = np.full((20, 30, 3), 200, np.uint8)
    for name in "abc":
        Image.fromarray(photo).save(tmp_path / "images" / f"{name}.png")
    mask = np.zeros((20, 30), np.uint8)
    mask[4:16, 5:25], mask[0] = 2, 255
    write_mask(tmp_path / "masks" / "c.png", mask)
    rows = "image,labels,split\na,<cat>,train\nb,yak,train\nc,<cat>,val\n"
    (tmp_path / "labels.csv").write_text(rows)
    return tmp_path


def test_the_page_shows_masks_over_images_and_names_of_classes(data, capsys):
    params = ["--check", "--params", json.dumps(SETTINGS), "--data", str(data)]
    run_stage(convert, [*params, "--page", str(data / "check.html")], modes={"--check": check})
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"page: 3 images with their labels and masks in {data / 'check.html'}"
    text = (data / "check.html").read_text()
    assert "&lt;cat&gt;" in text and "<cat>" not in text
    assert "1 &lt;cat&gt;" in text and "2 yak" in text
    assert "in the labels, not in the mask: &lt;cat&gt;" in text
    assert "in the mask, not in the labels: yak" in text
    assert not re.search(r"(src|href)=\"(?!data:)", text), "it needs no other file"
    pictures = [
        np.array(Image.open(io.BytesIO(base64.b64decode(content))), int)
        for content in re.findall(r"base64,([^\"]*)", text)
    ]
    assert [picture.shape for picture in pictures] == [(20, 30, 3)] * 4
    assert abs(pictures[2] - 200).max() < 5
    assert abs(pictures[3][10, 15] - (VOC_PALETTE[2] // 2 + 100)).max() < 12


def test_the_page_is_the_same_each_time_and_all_that_is_written(data, capsys, monkeypatch):
    monkeypatch.chdir(data)
    before = sorted(data.rglob("*"))
    pages = []
    for _ in range(2):
        check(settings=ConvertSettings(**SETTINGS), data=data)
        pages.append((data / "check.html").read_bytes())
    assert pages[0] == pages[1]
    assert sorted(data.rglob("*")) == sorted([*before, data / "check.html"])
    assert "labels and masks in check.html" in capsys.readouterr().out


def test_a_data_set_with_problems_has_a_page_of_what_can_be_read(data, capsys):
    (data / "images" / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="problems in the data set: 1"):
        check(settings=ConvertSettings(**SETTINGS), data=data, page=data / "check.html")
    assert "page: 2 images" in capsys.readouterr().out


def test_the_report_is_no_part_of_what_a_conversion_runs():
    files = CodeDigest(ROOT).files("stages.convert")
    assert files and not any("report" in path.parts for path in files)
