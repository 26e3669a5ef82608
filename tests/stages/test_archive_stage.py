import tarfile
import time

import numpy as np
import pytest
from PIL import Image

from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import write_maps
from seedbed.formats.palette import VOC_PALETTE
from seedbed.runtime.errors import UserError
from stages.archive import archive, pack

FOLDER = "results/VOC2012/Segmentation/comp6_test_cls"
LABELS = {"b": np.uint8([[0, 1]]), "a": np.uint8([[2, 2]]), "v": np.uint8([[1, 1]])}


@pytest.fixture
def call(tmp_path):
    """Archive the masks, one file each, and give the archive's path."""
    images = [
        ImageEntry(name, f"{name}.jpg", 1, 2, (), split, False, "")
        for name, split in (("b", "test"), ("a", "test"), ("v", "val"))
    ]
    classes = (ClassInfo("cat", 8), ClassInfo("person", 15))
    Index(classes, tuple(images), "annotations").save(tmp_path / "index.json")

    def call(name="out.tar.gz", labels=LABELS, split="test"):
        paths = []
        for image_id, mask in labels.items():
            paths.append(tmp_path / f"{image_id}.h5")
            with write_maps(paths[-1]) as maps:
                maps.put(image_id, mask)
        output = tmp_path / "made" / name
        archive(index=tmp_path / "index.json", masks=paths, output=output, split=split)
        return output

    return call


def test_the_server_finds_the_masks_where_it_looks(call):
    with tarfile.open(call(), "r:gz") as packed:
        assert packed.getnames() == [f"{FOLDER}/a.png", f"{FOLDER}/b.png"]
        for name, expected in (("a", [[15, 15]]), ("b", [[0, 8]])):
            with Image.open(packed.extractfile(f"{FOLDER}/{name}.png")) as picture:
                assert np.array(picture).tolist() == expected
                assert picture.mode == "P"
                assert picture.getpalette() == VOC_PALETTE.ravel().tolist()


def test_another_split(call):
    with tarfile.open(call(split="val")) as packed:
        assert packed.getnames() == [f"{FOLDER}/v.png"]


def test_labels_are_taken_from_labels_with_confidences(call):
    both = {name: np.stack([mask, np.full_like(mask, 255)]) for name, mask in LABELS.items()}
    assert call("one.tar.gz").read_bytes() == call("two.tar.gz", both).read_bytes()


def test_same_masks_same_bytes(call, monkeypatch):
    first = call("one.tar.gz").read_bytes()
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 1e6)
    assert call("two.tar.gz").read_bytes() == first
    with tarfile.open(call()) as packed:
        members = packed.getmembers()
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {
        (0, 0, 0, "", "", 0o644)
    }


def test_files_are_packed_in_order_of_their_names(tmp_path):
    names = [f"{letter}.png" for letter in "abcdefghijklmnopqrst"]
    for name in names:
        (tmp_path / "files" / name[0] / "x").mkdir(parents=True)
        (tmp_path / "files" / name[0] / "x" / name).write_text(name)
    pack(tmp_path / "files", tmp_path / "out.tar.gz")
    with tarfile.open(tmp_path / "out.tar.gz") as packed:
        assert packed.getnames() == [f"{name[0]}/x/{name}" for name in names]
        assert packed.extractfile("t/x/t.png").read() == b"t.png"


def test_void_is_refused(call, tmp_path):
    with pytest.raises(UserError, match="a has void pixels"):
        call(labels={**LABELS, "a": np.uint8([[2, 255]])})
    assert not (tmp_path / "made").exists()


def test_a_split_without_images_is_refused(call):
    with pytest.raises(UserError, match=r"split train has no images; set convert\.train_list"):
        call(split="train")


def test_an_image_without_a_mask_is_named(call):
    with pytest.raises(UserError, match="b is not in"):
        call(labels={"a": LABELS["a"]})
