"""Whether a data set is the one that an index was made from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedbed.data.classes import ClassInfo, ClassTable
from seedbed.data.compare import find_difference
from seedbed.data.index import Index
from seedbed.data.source import Source, decode_all, raise_problem
from seedbed.formats.maps import write_maps
from seedbed.formats.mask_coding import MaskCoding
from seedbed.runtime.errors import UserError

CLASSES = (ClassInfo("cat", 1), ClassInfo("dog", 2))


@pytest.fixture
def source(tmp_path) -> Source:
    """Two images, of which the second has no label but its mask's."""
    images = {name: tmp_path / f"data/{name}.png" for name in ("a", "b")}
    (tmp_path / "data").mkdir()
    for number, path in enumerate(images.values()):
        Image.new("RGB", (4, 3), (number, 0, 0)).save(path)
    return Source(
        splits={"a": "train", "b": "val"},
        images=images,
        table=ClassTable(CLASSES),
        labels={"a": (1,)},
        mask=lambda image_id, size: None if image_id == "a" else np.full(size, 2, np.uint8),
        label_source="labels.csv",
    )


@pytest.fixture
def difference(source, tmp_path):
    """Function of another source, or of another place: what differs from the index."""
    data, masks = tmp_path / "data", tmp_path / "masks.h5"
    with write_maps(masks) as maps:
        decoded = list(decode_all(source, data, 1, raise_problem))
        for entry, mask in decoded:
            if mask is not None:
                maps.put(entry.id, mask)
    entries = tuple(entry for entry, _ in decoded)
    index = Index(CLASSES, entries, source.label_source, source.audit_list)
    return lambda other, place=data: find_difference(other, index, masks, place, 2)


def test_the_same_data_set_has_no_difference(source, difference, tmp_path):
    assert difference(source) is None
    moved = (tmp_path / "data").rename(tmp_path / "moved")
    images = {name: moved / path.name for name, path in source.images.items()}
    assert difference(replace(source, images=images), moved) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": {"a": (2,)}}, "image a"),
        ({"labels": {"a": (1,), "b": (1,)}}, "image b"),
        ({"splits": {"a": "train"}}, "the list of images"),
        ({"splits": {"a": "train", "b": "test"}}, "the list of images"),
        ({"table": ClassTable(CLASSES[::-1])}, "the classes"),
        ({"label_source": "other.csv"}, "the source of the labels"),
        ({"audit_list": ("a",)}, "the source of the labels"),
        ({"mask_coding": MaskCoding()}, "what the masks' values or colours mean"),
        ({"mask": lambda image_id, size: None}, "the mask of b"),
        ({"mask": lambda image_id, size: np.full(size, 2, np.uint8)}, "the mask of a"),
        ({"mask": lambda i, size: None if i == "a" else np.ones(size, np.uint8)}, "the mask of b"),
    ],
)
def test_the_first_difference_is_named(source, difference, change, said):
    assert difference(replace(source, **change)) == said


def test_an_edited_image_is_named(source, difference):
    path: Path = source.images["b"]
    Image.new("RGB", (4, 3), (9, 9, 9)).save(path)
    assert difference(source) == "image b"
    path.unlink()
    with pytest.raises(UserError, match=r"cannot read the image .*b.png: No such file"):
        difference(source)


def test_an_index_holds_relative_paths_however_the_data_are_given(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = {"a": Path("data/a.png"), "b": tmp_path / "data/b.png"}
    for data in (Path("data"), tmp_path / "data"):
        decoded = decode_all(replace(source, images=images), data, 1, raise_problem)
        assert [entry.path for entry, _ in decoded] == ["a.png", "b.png"]
