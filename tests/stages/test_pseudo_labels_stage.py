"""Pseudo labels from artefacts of a few pixels worked out by hand."""

import json

import numpy as np
import pytest
from PIL import Image

from seedbed.crf import dense_crf, resolve_backend
from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.masks import read_mask, write_mask
from seedbed.formats.tables import read_tsv
from stages.command import run_stage
from stages.pseudo_labels import pseudo_labels

CLASSES = (ClassInfo("bird", 3), ClassInfo("cat", 8), ClassInfo("dog", 12))
PIXELS = np.uint8([[[9, 9, 9], [9, 9, 9], [240, 240, 240], [240, 240, 240]]])
WALK = np.float16([[[0.2, 0.5, 0.4, 0.3]], [[0.7, 0.3, 0.4, 0.3]], [[0.1, 0.2, 0.2, 0.4]]])


def stored(path, values):
    with write_maps(path, levels=255) as maps:
        maps.put("a", np.uint8(values))


@pytest.fixture
def made(tmp_path):
    """Run the stage as the command line does, on an image of bird and dog; returns its labels."""
    entry = ImageEntry("a", "a.png", 1, 4, (1, 3), "train", True, "")
    val = ImageEntry("v", "v.png", 1, 4, (1,), "val", True, "")
    Index(CLASSES, (entry, val), "annotations").save(tmp_path / "index.json")
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    stored(tmp_path / "one.h5", [[[255, 0, 0, 255]], [[0, 102, 0, 0]]])
    stored(tmp_path / "two.h5", [[[0, 0, 0, 0]], [[0, 0, 255, 255]]])
    stored(tmp_path / "saliency.h5", [[255, 40, 255, 255]])
    with write_maps(tmp_path / "walk.h5") as maps:
        maps.put("a", WALK, classes=[0, 1, 3])

    def run(files=("one.h5", "two.h5", "saliency.h5"), **settings):
        options = ["--index", str(tmp_path / "index.json"), "--data", str(tmp_path)]
        for name, file in zip(("attention", "second-attention", "saliency"), files, strict=False):
            options += [f"--{name}", str(tmp_path / file)] if file else []
        outputs = {"output": "masks.h5", "folder": "masks", "summary": "masks.tsv"}
        options += [x for key, name in outputs.items() for x in (f"--{key}", str(tmp_path / name))]
        chosen = {"attention": "maximum", **settings}
        run_stage(pseudo_labels, [*options, "--params", json.dumps(chosen)])
        with Maps(tmp_path / "masks.h5") as maps:
            assert list(maps) == ["a"] and maps["a"].dtype == np.uint8
            return maps["a"].tolist()

    return run


def refusal(made, **options):
    """The one line that the stage ends with."""
    with pytest.raises(SystemExit) as end:
        made(**options)
    assert "\n" not in end.value.code
    return end.value.code


def test_argmax_of_the_stronger_of_two_sources(made):
    files = ("one.h5", "two.h5")
    assert made(files, rule="argmax", background_score=0.3) == [[1, 3, 3, 1]]
    assert made(files, rule="argmax", background_score=0.5) == [[1, 0, 3, 1]]


def test_two_weak_sources_are_no_strong_one(made, tmp_path):
    stored(tmp_path / "weak.h5", [[[102] * 4], [[0, 0, 153, 153]]])
    stored(tmp_path / "too.h5", [[[102] * 4], [[0, 153, 0, 153]]])
    options = {"rule": "argmax", "background_score": 0.5}
    assert made(("weak.h5", "too.h5"), **options) == [[0, 3, 3, 3]]


def test_saliency_guided_thresholds_are_passed_on(made):
    """The second pixel is background of saliency 40, the last one claimed by both classes."""
    assert made(saliency_threshold=32) == [[1, 255, 3, 255]]
    assert made(saliency_threshold=41) == [[1, 0, 3, 255]]
    assert made(saliency_threshold=41, attention_threshold=0.3) == [[1, 255, 3, 255]]
    assert made(saliency_threshold=41, conflict_threshold=1.0) == [[1, 0, 3, 1]]
    assert made(minimum_foreground=0.6) == [[255, 255, 255, 255]]


def test_saliency_guided_gets_the_stored_levels(made, tmp_path):
    """Bird in the second pixel: 219 and 36 are a tie, 204 is no more attention than 0.8."""
    stored(tmp_path / "levels.h5", [[[255, 219, 204, 0]], [[0, 0, 0, 255]]])
    stored(tmp_path / "grey.h5", [[255, 36, 31, 255]])
    options = {"attention": "group"}
    assert made(("levels.h5", None, "grey.h5"), **options) == [[1, 255, 0, 3]]
    lax = options | {"saliency_threshold": 256, "attention_threshold": 1.0}
    assert made(("levels.h5", None, "grey.h5"), **lax) == [[1, 0, 0, 3]]


def test_argmax_compares_levels_exactly(made, tmp_path):
    """51 / 255 is 0.2, a tie, so background; 102 / 255 is 0.4."""
    stored(tmp_path / "maps.h5", [[[51, 52, 102, 103]], [[0, 0, 0, 0]]])
    options = {"rule": "argmax", "attention": "cam"}
    assert made(("maps.h5",), **options, background_score=0.2) == [[0, 1, 1, 1]]
    assert made(("maps.h5",), **options, background_score=0.4) == [[0, 0, 0, 1]]


def test_what_is_written_beside_the_masks(made, tmp_path):
    made()
    assert read_mask(tmp_path / "masks" / "a.png").tolist() == [[3, 255, 12, 255]]
    (row,) = read_tsv(tmp_path / "masks.tsv")
    assert (row["id"], float(row["foreground"]), float(row["void"])) == ("a", 0.5, 0.5)
    assert row["missing"] == ""
    assert made(("one.h5",), rule="argmax", attention="cam", background_score=0.5) == [[1, 0, 0, 1]]
    (row,) = read_tsv(tmp_path / "masks.tsv")
    assert (float(row["foreground"]), float(row["void"]), row["missing"]) == (0.5, 0, "3")


def test_a_walk_brings_its_own_background(made):
    """In the third pixel background and bird are equal, in the last dog is ahead of both."""
    assert made(("walk.h5",), attention="random_walk", rule="argmax") == [[1, 0, 0, 3]]


def test_saliency_takes_the_place_of_the_background_of_a_walk(made, tmp_path):
    """Background scores 0 and 1 by the saliency of the pixel, whatever the walk says of it."""
    stored(tmp_path / "grey.h5", [[255, 255, 0, 255]])
    options = {"attention": "random_walk", "conflict_threshold": 1, "attention_threshold": 1}
    assert made(("walk.h5", None, "grey.h5"), **options) == [[1, 3, 0, 3]]


def crf(**settings):
    weights = {"gaussian_weight": 0, "bilateral_weight": 4, "gaussian_sxy": 3}
    return {"iterations": 5, "bilateral_sxy": 20, "bilateral_srgb": 13, **weights, **settings}


def test_a_crf_of_a_walk_sees_the_image(made):
    """Pixels of one colour end in one label, the one that they have more of together."""
    walk = {"attention": "random_walk", "rule": "argmax"}
    found = made(("walk.h5",), **walk, crf=crf())
    unary = -np.log(WALK.astype(np.float32))
    assert found[0] == np.array([0, 1, 3])[dense_crf(PIXELS, unary, crf()).argmax(0)][0].tolist()
    assert found[0][:2] == [1, 1] and found[0][2] == found[0][3]
    assert made(("walk.h5",), **walk, crf=crf(iterations=0)) == [[1, 0, 0, 3]]


def test_a_crf_of_class_activation_maps_starts_from_shares(made, tmp_path):
    """0.4 against a background of 0.5 is 4 of 9 shares, 0 against it none: mostly background."""
    stored(tmp_path / "maps.h5", [[[255, 102, 0, 0]], [[0, 0, 255, 77]]])
    options = {"attention": "cam", "rule": "argmax", "background_score": 0.5}
    assert made(("maps.h5",), **options) == [[1, 0, 3, 0]]
    found = made(("maps.h5",), **options, crf=crf())
    scores = np.float32([[0.5] * 4, [1, 0.4, 0, 0], [0, 0, 1, 77 / 255]])[:, None]
    unary = -np.log((scores / scores.sum(0)).clip(1e-5, 1))
    expected = np.array([0, 1, 3])[dense_crf(PIXELS, unary, crf()).argmax(0)]
    assert found == expected.tolist() and found[0] == [1, 1, 3, 3]


def test_the_masks_say_which_backend_solved_the_crf(made, tmp_path):
    made(("walk.h5",), attention="random_walk", rule="argmax", crf=crf())
    assert Maps(tmp_path / "masks.h5").file_attributes()["crf_backend"] == resolve_backend("auto")
    made(("walk.h5",), attention="random_walk", rule="argmax")
    assert "crf_backend" not in Maps(tmp_path / "masks.h5").file_attributes()


def test_shares_of_little_count_as_much(made, tmp_path):
    """In the last pixel background has next to nothing, and the classes have nothing at all."""
    stored(tmp_path / "maps.h5", [[[255, 255, 0, 0]], [[0, 0, 255, 0]]])
    options = {"attention": "cam", "rule": "argmax", "background_score": 1e-6}
    assert made(("maps.h5",), **options, crf=crf()) == [[1, 1, 3, 0]]


def test_without_any_score_nothing_breaks(made, tmp_path):
    stored(tmp_path / "maps.h5", np.zeros((2, 1, 4)))
    options = {"attention": "cam", "rule": "argmax", "background_score": 0}
    assert made(("maps.h5",), **options, crf=crf(iterations=0)) == [[0, 0, 0, 0]]


def test_given_masks_are_taken_instead(made, tmp_path):
    """Source ids 3, 8 and 12 are the index's 1, 2 and 3; 20 it does not have."""
    write_mask(tmp_path / "labels" / "a.png", np.uint8([[12, 3, 255, 20]]))
    assert made((), masks="labels") == [[3, 1, 255, 255]]
    assert read_mask(tmp_path / "masks" / "a.png").tolist() == [[12, 3, 255, 255]]


def test_given_masks_that_do_not_fit_are_named(made, tmp_path):
    (tmp_path / "labels").mkdir()
    assert str(tmp_path / "labels" / "a.png") in refusal(made, files=(), masks="labels")
    write_mask(tmp_path / "labels" / "a.png", np.uint8([[3]]))
    assert "(1, 1)" in refusal(made, files=(), masks="labels")
    assert not (tmp_path / "masks.h5").exists()


def test_missing_inputs_are_named(made, tmp_path):
    assert "--attention" in refusal(made, files=())
    assert "--saliency" in refusal(made, files=("one.h5", "two.h5"))
    with write_maps(tmp_path / "empty.h5") as maps:
        maps.put("b", np.zeros((2, 1, 4), np.uint8))
    assert "a is not in" in refusal(made, files=("empty.h5",), rule="argmax", attention="cam")
