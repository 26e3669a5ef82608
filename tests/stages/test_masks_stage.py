"""The final masks: gathered from shards, or given as PNGs."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.mask_coding import MaskCoding
from seedbed.formats.masks import read_mask, write_mask
from seedbed.runtime.errors import UserError
from stages.masks import masks

CLASSES = (ClassInfo("cat", 8), ClassInfo("dog", 12))
ROW = {"height": 1, "width": 2, "labels": (), "has_mask": True, "sha256": ""}
IMAGES = tuple(
    ImageEntry(id=one, path="", split=split, **ROW)
    for one, split in (("t", "train"), ("w", "val"), ("v", "val"))
)


@pytest.fixture
def made(tmp_path):
    """Run the stage on the val images; returns what it wrote, by id."""
    Index(CLASSES, IMAGES, "annotations").save(tmp_path / "index.json")
    for shard, names in {"1-of-2": ["w"], "2-of-2": ["v"]}.items():
        with write_maps(tmp_path / f"{shard}.h5") as maps:
            for name in names:
                maps.put(name, np.uint8([[[0, 1 + (name == "v")]], [[255, 200]]]))

    def run(**inputs):
        masks(
            index=tmp_path / "index.json",
            split="val",
            output=tmp_path / "masks.h5",
            folder=tmp_path / "masks",
            **inputs,
        )
        found = Maps(tmp_path / "masks.h5")
        return {name: found[name].tolist() for name in found}

    return run


@pytest.fixture
def folder(tmp_path):
    """Masks of both val images."""
    for name, values in {"v": [[12, 255]], "w": [[0, 8]]}.items():
        write_mask(tmp_path / "given" / f"{name}.png", np.uint8(values))
    return tmp_path / "given"


def test_labels_are_gathered_from_the_shards(made, tmp_path):
    shards = [tmp_path / "1-of-2.h5", tmp_path / "2-of-2.h5"]
    assert made(refined=shards) == {"v": [[0, 2]], "w": [[0, 1]]}
    assert read_mask(tmp_path / "masks/v.png").tolist() == [[0, 12]]


def test_masks_of_a_folder_are_taken_instead(made, folder, tmp_path):
    assert made(given=folder) == {"v": [[2, 255]], "w": [[0, 1]]}
    assert read_mask(tmp_path / "masks/v.png").tolist() == [[12, 255]]
    assert {path.name for path in (tmp_path / "masks").iterdir()} == {"v.png", "w.png"}


def test_given_masks_hold_what_the_data_set_holds_and_are_written_so(made, folder, tmp_path):
    dataset = Index.load(tmp_path / "index.json")
    coding = MaskCoding(values={0: 0, 255: 8, 3: 12})
    replace(dataset, mask_coding=coding).save(tmp_path / "index.json")
    for name, values in {"v": [[255, 3]], "w": [[0, 254]]}.items():
        Image.fromarray(np.uint8(values)).save(folder / f"{name}.png")
    assert made(given=folder) == {"v": [[1, 2]], "w": [[0, 255]]}
    for name in ("v", "w"):
        assert np.array_equal(
            Image.open(tmp_path / f"masks/{name}.png"), Image.open(folder / f"{name}.png")
        )
    Image.fromarray(np.uint8([[1, 1]])).save(folder / "v.png")
    with pytest.raises(UserError, match=r"v\.png holds the value 1, .* convert\.mask_values"):
        made(given=folder)


def test_what_does_not_fit_is_named_and_nothing_is_written(made, folder, tmp_path):
    write_mask(folder / "v.png", np.uint8([[0], [8]]))
    with pytest.raises(UserError, match=r"v\.png is \(2, 1\)"):
        made(given=folder)
    (folder / "v.png").unlink()
    with pytest.raises(UserError, match=r"v\.png"):
        made(given=folder)
    for inputs in ({}, {"given": folder, "refined": [tmp_path / "1-of-2.h5"]}):
        with pytest.raises(UserError, match="either as --refined or as --given"):
            made(**inputs)
    assert not (tmp_path / "masks.h5").exists()
