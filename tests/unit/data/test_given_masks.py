"""Folders of masks in the data set's own ids."""

import unicodedata

import numpy as np
import pytest
from PIL import Image

from seedbed.data.classes import ClassTable
from seedbed.data.given_masks import (
    export_source_masks,
    kept_images,
    mask_folder,
    read_given_masks,
)
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.mask_coding import MaskCoding
from seedbed.formats.masks import read_mask, write_mask
from seedbed.formats.palette import VOC_PALETTE
from seedbed.runtime.errors import UserError

TABLE = ClassTable.of(["cat", "dog"])
ENTRY = ImageEntry("a", "a.jpg", 1, 4, (1,), "train", False, "")
OURS, VOCS = [[0, 1, 2, 255]], [[0, 8, 12, 255]]


def read_one(folder, entry, table, coding=None):
    """The mask of one image, without what is checked of all together."""
    index = Index(table.classes, (entry,), "annotations", mask_coding=coding)
    return next(read_given_masks(folder, [entry], index, workers=1))


def test_round_trip(tmp_path):
    with write_maps(tmp_path / "masks.h5") as maps:
        maps.put("a", np.uint8(OURS))
    export_source_masks(tmp_path / "masks.h5", tmp_path / "masks", TABLE)
    with Image.open(tmp_path / "masks/a.png") as picture:
        assert picture.mode == "P" and len(picture.getpalette()) == 768
    assert read_mask(tmp_path / "masks/a.png").tolist() == VOCS
    assert read_one(tmp_path / "masks", ENTRY, TABLE).tolist() == OURS
    assert Maps(tmp_path / "masks.h5")["a"].tolist() == OURS
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["a.png"]


def test_grey_and_colour_masks_are_read_too(tmp_path):
    for pixels in (np.uint8(VOCS), VOC_PALETTE[VOCS]):
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert read_one(tmp_path, ENTRY, TABLE).tolist() == OURS


def test_classes_of_voc_that_are_not_in_the_index_become_void(tmp_path):
    write_mask(tmp_path / "a.png", np.uint8([[15, 0, 8, 8]]))
    assert read_one(tmp_path, ENTRY, TABLE).tolist() == [[255, 0, 1, 1]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[21, 0, 0, 0]], r"a\.png holds class 21"),
        ([[0], [0], [0], [0]], r"a\.png is \(4, 1\), its image \(1, 4\)"),
        ([[0, 0, 0]], r"a\.png is \(1, 3\), its image \(1, 4\)"),
    ],
)
def test_a_mask_that_does_not_fit_is_named(tmp_path, values, message):
    write_mask(tmp_path / "a.png", np.uint8(values))
    with pytest.raises(UserError, match=message):
        read_one(tmp_path, ENTRY, TABLE)


def test_a_missing_mask_is_named(tmp_path):
    with pytest.raises(UserError, match=r"a\.png"):
        read_one(tmp_path, ENTRY, TABLE)


def test_kept_images_are_the_lists_or_those_with_a_mask(tmp_path):
    entries = [ImageEntry(one, "", 1, 4, (1,), "train", False, "") for one in ("a", "b.c", "d")]
    write_mask(tmp_path / "b.c.png", np.uint8(VOCS))
    write_mask(tmp_path / "other.png", np.uint8(VOCS))
    assert kept_images(entries, tmp_path, None) == {"b.c"}
    listing = tmp_path / "list.txt"
    listing.write_text("/JPEGImages/a.jpg /proxy/a.png\nother\n\nd.jpg\n")
    assert kept_images(entries, tmp_path, listing) == {"a", "d"}
    for nothing in ("other\n", ""):
        listing.write_text(nothing)
        with pytest.raises(UserError, match=r"list\.txt has none of the train images"):
            kept_images(entries, tmp_path, listing)


def test_what_is_left_out_of_a_training_is_counted(tmp_path, capsys):
    entries = [
        ImageEntry(one, "", 1, 4, (1,), "train", False, "") for one in ("tür", "B 1", "d", "e")
    ]
    for name in (unicodedata.normalize("NFD", "tür.PNG"), "b 1.png", "other.png"):
        write_mask(tmp_path / name, np.uint8(VOCS))
    folder = mask_folder(tmp_path, entries)
    assert kept_images(entries, folder, None) == {"tür", "B 1"}
    assert capsys.readouterr().out.splitlines() == [
        f"1 masks in {tmp_path} belong to no train image: other.png",
        "2 train images are left out of this training: d, e",
    ]
    assert read_one(folder, entries[0], TABLE).tolist() == OURS
    listing = tmp_path / "list.txt"
    listing.write_text("/JPEGImages/B 1.jpg /proxy/B 1.png\ntür.JPG\nval.jpg\nd\ne\n")
    assert kept_images(entries, folder, listing) == {"tür", "B 1", "d", "e"}
    assert capsys.readouterr().out == f"1 lines of {listing} name no train image: val\n"


@pytest.mark.parametrize(
    "coding",
    [
        MaskCoding(values={0: 0, 255: 8, 100: 12}),
        MaskCoding(values={7: 0, 1000: 8, 3: 12, 9: 255}),
        MaskCoding.of_colours({(0, 64, 0): 8, (0, 0, 0): 12, (255, 255, 255): 0}),
    ],
)
def test_masks_are_exported_as_the_data_set_has_them(tmp_path, coding):
    with write_maps(tmp_path / "masks.h5") as maps:
        maps.put("a", np.uint8(OURS))
    export_source_masks(tmp_path / "masks.h5", tmp_path / "masks", TABLE, coding)
    assert read_one(tmp_path / "masks", ENTRY, TABLE, coding).tolist() == OURS
    with Image.open(tmp_path / "masks/a.png") as picture:
        picture.load()
    if coding.colours:  # as an editor saves them
        picture.convert("RGB").save(tmp_path / "masks/a.png")
        assert read_one(tmp_path / "masks", ENTRY, TABLE, coding).tolist() == OURS


def test_masks_of_a_folder_are_checked_together_at_the_end(tmp_path):
    index = Index(TABLE.classes, (ENTRY,), "annotations")
    write_mask(tmp_path / "a.png", np.uint8(VOCS))
    (mask,) = read_given_masks(tmp_path, [ENTRY], index, workers=2)
    assert mask.tolist() == OURS
    write_mask(tmp_path / "a.png", np.uint8([[0, 255, 255, 0]]))
    masks = read_given_masks(tmp_path, [ENTRY], index, workers=1)
    assert next(masks).tolist() == [[0, 255, 255, 0]]
    with pytest.raises(UserError, match="no class: say which values are classes"):
        next(masks)


def given(tmp_path, ids, label_source="annotations", coding=None):
    """Read a mask of each id; their images show a cat and a dog in turn."""
    entries = [ImageEntry(str(k), "", 1, 4, (1 + k % 2,), "train", False, "") for k in range(4)]
    for entry, k in zip(entries, ids, strict=True):
        write_mask(tmp_path / f"{entry.id}.png", np.uint8([[0, k, k, 255]]))
    index = Index(TABLE.classes, tuple(entries), label_source, mask_coding=coding)
    masks = read_given_masks(tmp_path, entries, index, workers=1)
    return [int(mask[0, 1]) for mask in masks]


def test_given_masks_of_other_ids_than_the_data_sets_are_refused(tmp_path):
    assert given(tmp_path, [8, 12, 8, 12]) == [1, 2, 1, 2]
    with pytest.raises(UserError) as caught:
        given(tmp_path, [1, 2, 1, 2])  # as predict_images writes them
    assert str(caught.value) == (
        f"{tmp_path}/0.png and all masks beside it hold 1, 2, and the ids of the classes are "
        "8 (cat), 12 (dog): write the ids of the data set, as predict_images does with --ids source"
    )


def test_given_masks_that_contradict_the_labels_are_refused(tmp_path):
    with pytest.raises(UserError, match="and none would with 8 as dog, 12 as cat: write"):
        given(tmp_path, [12, 8, 12, 8])
    assert given(tmp_path, [12, 8, 12, 8], "annotations, shuffled") == [2, 1, 2, 1]
    named = MaskCoding(values={0: 0, 8: 8, 12: 12})
    assert given(tmp_path, [12, 8, 12, 8], coding=named) == [2, 1, 2, 1]
    assert given(tmp_path, [12, 12, 8, 12]) == [2, 2, 1, 2]  # one may be wrong
