"""What is exported is what the readers of the published formats read back."""

import numpy as np
import pytest
from PIL import Image

from seedbed.data.classes import ClassInfo
from seedbed.data.given_masks import kept_images, read_given_masks
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.grey import read_grey
from seedbed.formats.group_wsss import read_attention
from seedbed.formats.maps import write_maps
from seedbed.formats.masks import read_mask
from seedbed.formats.palette import VOC_PALETTE
from seedbed.formats.psa import read_cam, read_scores
from seedbed.runtime.errors import UserError
from stages.export import export

CLASSES = (ClassInfo("cat", 8), ClassInfo("person", 15))
MAPS = np.uint8([[[0, 51, 255]], [[102, 3, 7]]])
MASK = np.uint8([[0, 1, 2, 255]])


def entry(image_id, labels=(1, 2)):
    path = f"VOCdevkit/VOC2012/JPEGImages/{image_id}.jpg"
    return ImageEntry(image_id, path, 1, 4, labels, "train", True, "")


@pytest.fixture
def call(tmp_path):
    """Export arrays, {id: (array, attributes)} in one file each, into a folder."""
    Index(CLASSES, (entry("b"), entry("a")), "annotations").save(tmp_path / "index.json")

    def call(what, images, **options):
        paths = []
        for image_id, (array, attributes) in images.items():
            paths.append(tmp_path / f"{image_id}.h5")
            with write_maps(paths[-1]) as maps:
                maps.put(image_id, array, **attributes)
        folder = tmp_path / "out"
        export(what=what, index=tmp_path / "index.json", maps=paths, folder=folder, **options)
        return folder

    return call


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_cams_are_numbered_by_source_id_from_zero(call):
    folder = call("cam", {"a": (MAPS, {"classes": [1, 2]}), "b": (MAPS[1:], {"classes": [2]})})
    assert names(folder) == ["a.npy", "b.npy"]
    content = np.load(folder / "a.npy", allow_pickle=True).item()  # as PSA's own code reads it
    assert list(content) == [7, 14] and content[7].dtype == np.float32
    found = read_cam(folder / "a.npy")
    assert list(found) == [8, 15]
    for values, expected in zip(found.values(), MAPS, strict=True):
        np.testing.assert_array_equal(values, expected / np.float32(255))
    np.testing.assert_array_equal(read_cam(folder / "b.npy")[15], MAPS[1] / np.float32(255))


def test_scores_of_either_alpha_keep_background_at_zero(call):
    low = np.uint8([[[255, 0]], [[0, 51]], [[0, 204]]])
    stored = {"a": (np.stack([low, 255 - low]), {"classes": [0, 1, 2]})}
    for what, expected in (("affinity_low", low), ("affinity_high", 255 - low)):
        found = read_scores(call(what, stored) / "a.npy")
        assert list(found) == [0, 8, 15]
        np.testing.assert_array_equal(list(found.values()), expected / np.float32(255))


def test_saliency_is_grey(call):
    path = call("saliency", {"a": (MAPS[0], {})}) / "a.png"
    assert Image.open(path).mode == "L"
    np.testing.assert_array_equal(read_grey(path), MAPS[0] / np.float32(255))


def test_attention_has_a_picture_for_each_class(call):
    folder = call("attention", {"a": (MAPS, {"classes": [1, 2]})})
    assert names(folder) == ["a_14.png", "a_7.png"]
    with Image.open(folder / "a_14.png") as picture:
        assert picture.mode == "L" and np.array_equal(picture, MAPS[1])
    found = read_attention(folder, "a", [8, 15], MAPS.shape[1:])
    np.testing.assert_array_equal(found, MAPS / np.float32(255))


@pytest.mark.parametrize(
    "array", [MASK, np.stack([MASK, np.full_like(MASK, 77)])], ids=["mask", "with confidence"]
)
def test_masks_are_in_source_ids_and_voc_colours(call, array):
    path = call("masks", {"a": (array, {})}) / "a.png"
    assert read_mask(path).tolist() == [[0, 8, 15, 255]]
    index = Index(CLASSES, (entry("a"),), "annotations")
    assert next(read_given_masks(path.parent, index.images, index, 1)).tolist() == MASK.tolist()
    with Image.open(path) as picture:
        assert picture.mode == "P" and picture.getpalette() == VOC_PALETTE.ravel().tolist()


def test_grey_masks_have_no_palette(call):
    path = call("masks", {"a": (MASK, {})}, style="grey") / "a.png"
    with Image.open(path) as picture:
        assert picture.mode == "L" and np.array(picture).tolist() == [[0, 8, 15, 255]]


def test_selected_lists_what_is_trained_on_in_the_indexs_order(call):
    kept, dropped = (MASK, {"kept": True}), (MASK, {"kept": False})
    folder = call("selected", {"a": kept, "b": kept})
    assert (folder / "list.txt").read_text() == (
        "/JPEGImages/b.jpg /masks/b.png\n/JPEGImages/a.jpg /masks/a.png\n"
    )
    assert names(folder / "masks") == ["a.png", "b.png"]
    folder = call("selected", {"a": kept, "b": dropped})
    assert (folder / "list.txt").read_text() == "/JPEGImages/a.jpg /masks/a.png\n"
    assert names(folder / "masks") == ["a.png"]  # the folder before is gone
    both = [entry("a"), entry("b")]
    assert kept_images(both, folder / "masks", folder / "list.txt") == {"a"}
    assert read_mask(folder / "masks/a.png").tolist() == [[0, 8, 15, 255]]


def test_none_selected_is_an_empty_list(call):
    folder = call("selected", {"a": (MASK, {"kept": False})})
    assert names(folder) == ["list.txt", "masks"] and not (folder / "list.txt").read_text()


@pytest.mark.parametrize(
    ("what", "array", "attributes", "message"),
    [
        ("cam", MASK, {}, "a has no attribute classes"),
        ("cam", MASK, {"classes": [1]}, r"shape \(1, 4\)"),
        ("cam", MAPS, {"classes": [0, 1]}, "a map of background"),  # a random walk's scores
        ("affinity_low", MAPS, {"classes": [1, 2]}, "shape"),
        ("saliency", MAPS, {}, "shape"),
        ("masks", np.float16(MAPS), {}, "float16"),
        ("selected", MASK, {}, "no attribute kept"),
    ],
)
def test_files_that_are_another_artefact_are_refused(
    call, tmp_path, what, array, attributes, message
):
    with pytest.raises(UserError, match=message):
        call(what, {"a": (array, attributes)})
    assert not (tmp_path / "out").exists()


def test_wrong_values_are_refused(call):
    with pytest.raises(UserError, match="stranger"):
        call("masks", {"stranger": (MASK, {})})
    with pytest.raises(UserError, match="no image in the files"):
        call("masks", {})
