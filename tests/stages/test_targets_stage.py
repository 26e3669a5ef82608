"""The targets of a round, from artefacts of a few pixels computed by hand."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from seedbed.crf import resolve_backend
from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.masks import read_mask, write_mask
from seedbed.formats.tables import read_tsv
from seedbed.runtime.errors import UserError
from stages.settings import CRFSettings, SelectionSettings, TargetSettings
from stages.targets import targets
from tests.support.predictions import put_probabilities

DEFAULTS = SelectionSettings()
CLASSES = (ClassInfo("cat", 8), ClassInfo("dog", 12))
ROW = {"height": 1, "width": 4, "has_mask": True, "sha256": ""}
IMAGES = (
    ImageEntry(id="a", path="a.png", labels=(2,), split="train", **ROW),
    ImageEntry(id="b", path="b.png", labels=(2,), split="train", **ROW),
    ImageEntry(id="v", path="v.png", labels=(1,), split="val", **ROW),
)
NETWORK = {"a": [0, 2, 2, 2], "b": [0, 0, 0, 0]}
CONFIDENCE = {"a": [255, 255, 200, 100], "b": [255, 255, 255, 255]}
FIRST = {"a": [0, 2, 255, 0], "b": [0, 0, 0, 2]}
SALIENCY = {"a": [0, 255, 255, 0], "b": [0, 0, 0, 255]}


@pytest.fixture
def make(tmp_path):
    """Run the stage on the artefacts above and return its masks by id."""
    Index(CLASSES, IMAGES, "annotations").save(tmp_path / "index.json")
    with write_maps(tmp_path / "first.h5") as maps:
        for name, values in FIRST.items():
            maps.put(name, np.uint8([values]))
    with write_maps(tmp_path / "refined.h5") as maps:
        for name, values in NETWORK.items():
            maps.put(name, np.uint8([[values], [CONFIDENCE[name]]]))
    with write_maps(tmp_path / "saliency.h5", levels=255) as maps:
        for name, values in SALIENCY.items():
            maps.put(name, np.uint8([values]))
    with write_maps(tmp_path / "predictions.h5") as maps:
        for name, values in NETWORK.items():  # an untagged class stands between the two
            dog = np.float32([values]) / 2
            put_probabilities(maps, name, np.stack([1 - dog, dog * 0, dog]), [0, 1, 2])

    def run(supervise, selection=DEFAULTS, given=MappingProxyType({}), **inputs):
        targets(
            index=tmp_path / "index.json",
            round=3,
            output=tmp_path / "targets.h5",
            folder=tmp_path / "targets",
            selection=tmp_path / "selection.tsv",
            settings=TargetSettings(supervise=supervise, selection=selection, **given),
            data=tmp_path,
            workers=1,
            **{name: tmp_path / path for name, path in inputs.items() if name == "masks"},
            **{name: [tmp_path / path] for name, path in inputs.items() if name != "masks"},
        )
        return Maps([tmp_path / "targets.h5"])

    return run


SELECTED_FROM = {
    "masks": "first.h5",
    "refined": "refined.h5",
    "predictions": "predictions.h5",
    "saliency": "saliency.h5",
}


def test_pseudo_labels_are_stored_unchanged(make, tmp_path):
    written = make("pseudo_labels", masks="first.h5")
    assert {name: written[name].tolist() for name in written} == {
        "a": [FIRST["a"]],
        "b": [FIRST["b"]],
    }
    assert written.file_attributes()["round"] == 3
    assert read_mask(tmp_path / "targets/a.png").tolist() == [[0, 12, 255, 0]]  # a dog in VOC
    rows = read_tsv(tmp_path / "selection.tsv")
    assert [(r["id"], r["kept"], float(r["valid"])) for r in rows] == [
        ("a", "1", 0.75),
        ("b", "1", 1),
    ]


def test_predictions_are_the_labels_after_the_crf(make):
    written = make("predictions", masks="first.h5", refined="refined.h5")
    assert {name: written[name].tolist() for name in written} == {
        k: [v] for k, v in NETWORK.items()
    }


def test_selection_by_hand(make, tmp_path):
    """Of a, m3 = 0 2 2 0 wins: it agrees with m1 on all three pixels that m1 knows.

    The last pixel is void, since the network says 2 there; b is dropped: no candidate has its tag.
    """
    settings = SelectionSettings(foreground_confidence=0.5, minimum_per_class=0)
    written = make("selected", settings, **SELECTED_FROM)
    assert written["a"].tolist() == [[0, 2, 2, 255]]
    assert [bool(written.attributes(name)["kept"]) for name in "ab"] == [True, False]
    first, second = read_tsv(tmp_path / "selection.tsv")
    assert (first["kept"], float(first["valid"]), float(first["quality"])) == ("1", 0.75, 1)
    assert (first["candidate"], float(first["coverage"]), first["size_ok"]) == ("3", 1, "1")
    assert (second["kept"], float(second["quality"])) == ("0", 0)


def test_selection_uses_the_thresholds_of_its_settings(make):
    """The third pixel's confidence, 200 of 255, is below the default threshold."""
    assert make("selected", **SELECTED_FROM)["a"].tolist() == [[0, 2, 255, 255]]


def test_first_proposals_say_which_backend_solved_the_crf(make, tmp_path):
    with write_maps(tmp_path / "attention.h5", levels=255) as maps:
        for name in "ab":
            Image.new("RGB", (4, 1)).save(tmp_path / f"{name}.png")
            maps.put(name, np.uint8([[SALIENCY[name]]]))
    found = make("selected", saliency="saliency.h5", attention="attention.h5")
    assert found.file_attributes()["crf_backend"] == resolve_backend("auto")
    assert "crf_backend" not in make("selected", **SELECTED_FROM).file_attributes()


def test_first_proposals_by_hand(make, tmp_path):
    """Pixel by pixel without a CRF: both agree on dog, on cat, neither, background, unsure."""
    cat, dog = [0, 255, 0, 0, 0], [255, 0, 140, 0, 0]
    salient = [255, 255, 120, 0, 40]
    images = [replace(entry, width=5, labels=(1, 2)) for entry in IMAGES]
    Index(CLASSES, tuple(images), "annotations").save(tmp_path / "index.json")
    with (
        write_maps(tmp_path / "attention.h5", levels=255) as attention,
        write_maps(tmp_path / "grey.h5", levels=255) as saliency,
    ):
        for name in "ab":
            Image.new("RGB", (5, 1)).save(tmp_path / f"{name}.png")
            attention.put(name, np.uint8([[cat], [dog]]))
            saliency.put(name, np.uint8([salient]))
    still = {"crf": CRFSettings(iterations=0)}
    inputs = {"saliency": "grey.h5", "attention": "attention.h5"}
    found = make("selected", SelectionSettings(**still), **inputs)
    assert found["a"].tolist() == [[2, 1, 255, 0, 255]]
    # The third is dog where less saliency is enough, and the last background.
    lax = SelectionSettings(**still, witness_foreground_saliency=0.4, drop=0.2)
    assert make("selected", lax, **inputs)["b"].tolist() == [[2, 1, 2, 0, 0]]


def test_missing_mask_is_named(make, tmp_path):
    with write_maps(tmp_path / "half.h5") as maps:
        maps.put("a", np.uint8([FIRST["a"]]))
    with pytest.raises(UserError, match="b: no mask"):
        make("pseudo_labels", masks="half.h5")


@pytest.fixture
def proxies(tmp_path):
    """Masks from outside, in VOC's ids: of a, b and an image that the index lacks."""
    for name, values in {"a": [0, 12, 255, 15], "b": [8, 8, 0, 0], "x": [0, 0, 0, 0]}.items():
        write_mask(tmp_path / "proxy" / f"{name}.png", np.uint8([values]))
    return tmp_path / "proxy"


@pytest.mark.parametrize("supervise", ["selected", "predictions"])
def test_given_masks_replace_any_kind_of_supervision(make, proxies, supervise):
    written = make(supervise, given={"masks": "proxy"})
    assert {name: written[name].tolist() for name in written} == {
        "a": [[0, 2, 255, 255]],  # a person is not in the index
        "b": [[1, 1, 0, 0]],
    }
    assert all(written.attributes(name)["kept"] for name in "ab")


@pytest.mark.parametrize("line", ["b", "b.jpg", "/JPEGImages/b.jpg /proxy/b.png"])
def test_a_list_names_the_given_masks_to_train_on(make, proxies, tmp_path, line):
    (proxies / "a.png").unlink()  # an image that is not trained on needs no mask
    (tmp_path / "list.txt").write_text(f"x\n{line}\n")
    written = make("selected", given={"masks": "proxy", "mask_list": "list.txt"})
    assert written["a"].tolist() == [[255] * 4] and written["b"].tolist() == [[1, 1, 0, 0]]
    assert [bool(written.attributes(name)["kept"]) for name in "ab"] == [False, True]
    rows = read_tsv(tmp_path / "selection.tsv")
    assert [(row["id"], row["kept"], row["valid"]) for row in rows] == [
        ("a", "0", "0"),
        ("b", "1", "1"),
    ]


def test_the_mask_of_an_image_that_is_not_listed_is_kept_for_later_rounds(make, proxies, tmp_path):
    """A later round of `selected` scores it again; with an all void mask it never could take it."""
    (tmp_path / "list.txt").write_text("b\n")
    written = make("selected", given={"masks": "proxy", "mask_list": "list.txt"})
    assert written["a"].tolist() == [[0, 2, 255, 255]]
    assert [bool(written.attributes(name)["kept"]) for name in "ab"] == [False, True]


def test_an_image_without_a_given_mask_is_left_out(make, proxies):
    (proxies / "a.png").unlink()
    written = make("selected", given={"masks": "proxy"})
    assert [bool(written.attributes(name)["kept"]) for name in "ab"] == [False, True]


def test_invalid_given_masks_are_named(make, proxies, tmp_path):
    (tmp_path / "list.txt").write_text("a\nb\n")
    listed = {"masks": "proxy", "mask_list": "list.txt"}
    for values, message in (([[0, 1, 2]], r"a\.png is \(1, 3\)"), ([[21] * 4], "class 21")):
        write_mask(proxies / "a.png", np.uint8(values))
        with pytest.raises(UserError, match=message):
            make("selected", given=listed)
    (proxies / "a.png").unlink()
    with pytest.raises(UserError, match=r"a\.png"):
        make("selected", given=listed)
    (tmp_path / "list.txt").write_text("x\n")
    with pytest.raises(UserError, match=r"list\.txt has none of the train images"):
        make("selected", given=listed)
    with pytest.raises(UserError, match=r"there is no folder .*nowhere"):
        make("selected", given={"masks": "nowhere"})
