"""Cues of an image, worked by hand on small grids, and DSRG's pickle."""

import gzip
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from seedbed.data.lists import image_numbers
from seedbed.formats.cue_pickle import by_image, read_cue_labels, read_cue_pickle, write_cue_pickle
from seedbed.formats.masks import VOC_PALETTE
from seedbed.formats.overlay import cue_preview
from seedbed.methods.seed_statistics import CueStatistics, cue_statistics
from seedbed.methods.seeds import make_cues
from seedbed.runtime.errors import UserError

SEC_PICKLE = Path(__file__).parents[4] / "shared/artefacts/localization_cues-sec.pickle.gz"
SEC_LIST = SEC_PICKLE.with_name("input_list.txt")
RULES = ["fg_over_bg", "bg_over_fg", "smaller_wins", "ignore", "multi_hot"]

# Of 9 cells: background claims the first two rows, class 3 the left column and the middle,
# class 5 the middle cell alone.
SALIENCY = np.array([[0.0, 0.0, 0.0], [0.0, 0.01, 0.0], [1.0, 1.0, 1.0]])
CAMS = np.array([[[9, 0, 0], [8, 5, 0], [7, 0, 0]], [[0, 0, 0], [0, 2, 0], [0, 0, 0]]], float)


def drawn(cues):
    """One string a row: the classes of each cell, a dot for none."""
    rows = cues.transpose(1, 2, 0)
    named = [["".join(map(str, np.flatnonzero(cell))) or "." for cell in row] for row in rows]
    return [" ".join(row) for row in named]


def make(conflict="fg_over_bg", cams=CAMS, saliency=SALIENCY, labels=(3, 5), **options):
    options = {"num_classes": 6, "grid": 3, **options}
    return make_cues(cams, saliency, labels, conflict=conflict, **options)


@pytest.mark.parametrize(
    ("conflict", "expected"),
    [
        ("fg_over_bg", ["3 0 0", "3 5 0", "3 . ."]),
        ("smaller_wins", ["3 0 0", "3 5 0", "3 . ."]),
        ("multi_hot", ["03 0 0", "03 035 0", "3 . ."]),
    ],
)
def test_conflict_rules(conflict, expected):
    assert drawn(make(conflict)) == expected


@pytest.mark.parametrize("conflict", ["bg_over_fg", "ignore"])
def test_rules_that_take_the_last_cell_of_a_class_give_it_back(conflict):
    corner = "0" if conflict == "bg_over_fg" else "."
    assert drawn(make(conflict)) == [f"{corner} 0 0", f"{corner} 5 0", "3 . ."]


def test_small_background_beats_foreground_only_by_the_rules_that_say_so():
    cams, saliency = np.ones((1, 3, 3)), np.ones((3, 3))
    cams[0, 0, 0] = saliency[0, 0] = saliency[1, 1] = 0
    middle = {rule: make(rule, cams, saliency, [2])[:, 1, 1] for rule in RULES}
    owners = {rule: np.flatnonzero(cell).tolist() for rule, cell in middle.items()}
    assert owners == {
        "fg_over_bg": [2],
        "bg_over_fg": [0],
        "smaller_wins": [0],
        "ignore": [],
        "multi_hot": [0, 2],
    }


def test_fraction_of_the_maximum_is_strict():
    cams = np.array([[[10.0, 2.0, 2.1]]])
    image = {"cams": cams, "saliency": np.ones((1, 3)), "labels": [1]}
    found = {f: make(**image, foreground_fraction=f)[1] for f in (0.2, 0.205, 0.5)}
    # The lowest saliency is everywhere, so that background takes the first cell.
    assert found[0.2].tolist() == [[False, False, True], [True, False, True], [True, False, True]]
    assert not found[0.205][:, 1].any() and found[0.205][:, 2].all()
    assert not found[0.5][:, 1:].any()


def test_background_threshold_is_strict():
    saliency = np.array([[0.25, 0.24, 0.26]] * 3)
    cues = make(saliency=saliency, cams=CAMS[:0], labels=[], background_threshold=0.25)
    assert drawn(cues) == [". 0 ."] * 3


def test_foreground_may_need_saliency():
    cues = make(foreground_saliency=0.5)
    # Class 5 is nowhere salient: it keeps its best cell.
    assert drawn(cues) == ["0 0 0", "0 5 0", "3 . ."]


def test_nothing_sure_still_gives_the_best_cells():
    saliency = np.array([[0.9, 0.8, 0.9]] * 2 + [[0.9, 0.9, 0.7]])
    cams = -1 - np.arange(9.0).reshape(1, 3, 3)
    assert drawn(make(cams=cams, saliency=saliency, labels=[4])) == ["4 . .", ". . .", ". . 0"]


@pytest.mark.parametrize("rule", RULES)
def test_two_classes_of_the_same_best_cell_both_stay(rule):
    cams = np.zeros((2, 3, 3))
    cams[:, 1, 1] = 1
    cues = make(rule, cams=cams, saliency=np.ones((3, 3)), labels=[1, 2])
    assert cues[[0, 1, 2]].any((1, 2)).all()
    assert (cues.sum(0) <= 1).all() or rule == "multi_hot"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rule=st.sampled_from(RULES), count=st.integers(0, 4))
def test_every_class_has_a_cell_and_no_other_class_any(seed, rule, count):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(1, 8))[:count]
    cams = rng.normal(size=(count, 6, 9)).round(1)
    saliency = rng.random((12, 7)) ** 2
    cues = make_cues(cams, saliency, labels.tolist(), num_classes=8, grid=5, conflict=rule)
    assert cues.dtype == bool and cues.shape == (8, 5, 5)
    assert set(np.flatnonzero(cues.any((1, 2)))) == {0, *labels}
    assert rule == "multi_hot" or cues.sum(0).max() <= 1


def test_maps_are_resampled_corner_on_corner():
    rng = np.random.default_rng(5)
    cams, saliency = rng.random((1, 30, 50)), rng.random((20, 70))
    image = {"cams": cams, "saliency": saliency, "labels": [1]}
    cues = make("multi_hot", **image, grid=7, foreground_fraction=0.5, background_threshold=0.4)
    zoomed = ndimage.zoom(cams[0], (7 / 30, 7 / 50), order=1, mode="nearest")
    np.testing.assert_array_equal(cues[1], zoomed > 0.5 * zoomed.max())
    zoomed = ndimage.zoom(saliency, (7 / 20, 7 / 70), order=1, mode="nearest")
    np.testing.assert_array_equal(cues[0], zoomed < 0.4)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"labels": [3]}, "cams"),
        ({"labels": [0, 3]}, "labels"),
        ({"labels": [3, 6]}, "labels"),
        ({"labels": [3, 3]}, "labels"),
        ({"saliency": 255 * SALIENCY}, "saliency"),
        ({"conflict": "mine"}, "conflict"),
    ],
)
def test_wrong_arguments_are_named(options, name):
    with pytest.raises(ValueError, match=name):
        make(**options)


def test_pickle_round_trip(tmp_path):
    cues = [make(), make("multi_hot")]
    write_cue_pickle(tmp_path / "cues.pickle", cues, [(3, 5), (5, 3)])
    found, labels = read_cue_pickle(tmp_path / "cues.pickle", num_classes=6, grid=3)
    assert labels == {0: (3, 5), 1: (5, 3)}
    assert list(found) == [0, 1] and all((found[k] == cues[k]).all() for k in found)


def test_pickle_has_the_published_layout(tmp_path):
    path = tmp_path / "cues.pickle"
    write_cue_pickle(path, [make()], [[3, 5]])
    content = pickle.loads(path.read_bytes(), encoding="latin1")
    assert list(content) == ["0_labels", "0_cues"]
    assert content["0_labels"].tolist() == [3, 5]
    expected = [[0, 0, 0, 3, 3, 3, 5], [0, 0, 1, 0, 1, 2, 1], [1, 2, 2, 0, 0, 0, 1]]
    assert content["0_cues"].dtype == np.int64 and content["0_cues"].tolist() == expected
    operations = list(pickletools.genops(path.read_bytes()))
    assert operations[0][1] == 2
    names = {argument for operation, argument, _ in operations if operation.name == "GLOBAL"}
    assert "numpy.core.multiarray _reconstruct" in names  # what NumPy 1 and Python 2 can import


def test_the_pickle_is_written_image_by_image(tmp_path):
    def full_grids():
        for _ in range(10):
            yield np.ones((3, 100, 100), bool)
        (file,) = [path for path in tmp_path.iterdir() if path.stat().st_size]
        assert file.stat().st_size > 9 * 30_000 * 3 * 8  # cells, numbers of each, bytes

    write_cue_pickle(tmp_path / "cues.pickle", full_grids(), [[1]] * 10)
    assert len(pickle.loads((tmp_path / "cues.pickle").read_bytes())) == 20


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"0_cues": np.array([[0], [3], [0]]), "0_labels": np.array([1])}, "outside"),
        ({"0_cues": np.array([[6], [0], [0]]), "0_labels": np.array([1])}, "outside"),
        ({"0_cues": np.array([[0], [-1], [0]]), "0_labels": np.array([1])}, "outside"),
        ({"0_cues": np.zeros((3, 1)), "0_labels": np.array([1])}, "0_cues"),
        ({"0_cues": np.zeros((2, 1), int), "0_labels": np.array([1])}, "0_cues"),
        ({"0_cues": np.zeros((3, 1), int), "0_labels": np.array([0])}, "0_labels"),
        ({"0_cues": np.zeros((3, 1), int)}, "0_labels"),
        ({"cues": 1}, "holds no"),
        ([1], "holds no"),
    ],
)
def test_bad_pickles_are_explained(tmp_path, content, message):
    path = tmp_path / "bad.pickle"
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UserError, match=message) as caught:
        read_cue_pickle(path, num_classes=6, grid=3)
    assert str(path) in str(caught.value)


def test_a_cue_outside_is_named_with_its_cell(tmp_path):
    path = tmp_path / "cues.pickle"
    content = {"7_cues": np.array([[0, 5], [0, 2], [1, 3]]), "7_labels": np.array([5])}
    path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UserError, match=r"7_cues .* cue \(5, 2, 3\) .*outside \(6, 3, 3\)"):
        read_cue_pickle(path, num_classes=6, grid=3)
    assert list(read_cue_pickle(path, num_classes=6, grid=4)[0]) == [7]


def test_labels_can_be_read_alone(tmp_path):
    path = tmp_path / "cues.pickle"
    path.write_bytes(pickle.dumps({"3_labels": np.array([20, 1]), "3_cues": "not looked at"}))
    assert read_cue_labels(path) == {3: (20, 1)}
    path.write_bytes(pickle.dumps({"3_cues": np.zeros((3, 1), int)}))
    with pytest.raises(UserError, match="holds no '0_labels'"):
        read_cue_labels(path)


def test_values_are_found_by_the_images_numbers():
    assert by_image({0: "x", 5: "y", 6: "z"}, {"a": 5, "b": 0}, "f") == {"a": "y", "b": "x"}
    with pytest.raises(UserError, match="image b, number 1, is not in f"):
        by_image({0: "x"}, {"a": 0, "b": 1}, "f")


def test_a_compressed_pickle_is_unpacked(tmp_path):
    write_cue_pickle(tmp_path / "a.pickle", [make()], [(3, 5)])
    packed = tmp_path / "a.pickle.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.pickle").read_bytes()))
    assert (read_cue_pickle(packed, num_classes=6, grid=3)[0][0] == make()).all()
    whole = packed.read_bytes()
    forbidden = gzip.compress(pickle.dumps(Path("x")))
    damaged = {whole[:-20], whole[:20] + bytes(20) + whole[40:], b"no", b"", forbidden}
    for content in damaged:
        packed.write_bytes(content)
        with pytest.raises(UserError, match=r"a\.pickle\.gz"):
            read_cue_labels(packed)
    packed.unlink()
    with pytest.raises(UserError, match=r"a\.pickle\.gz"):
        read_cue_labels(packed)


def test_statistics_by_hand():
    empty = np.zeros((6, 3, 3), bool)
    found = cue_statistics([make("multi_hot"), make(), empty], [(3, 5), (3,), (1, 2)])
    # Of 9 cells 6 are background and 4 foreground, 3 of them both; then 3 and 4; then none.
    assert found == CueStatistics(
        images=3,
        background=pytest.approx((6 + 3) / 27),
        foreground=pytest.approx((4 + 4) / 27),
        smallest=0,
        largest=4,
        labels={1: 1, 2: 2},
        multi_labelled=3,
        without_background=1,
        without_foreground=1,
    )
    assert str(found).startswith("3 images: 33.3% background, 29.6% foreground (0 to 4 cells), 3 ")
    assert "1: 1, 2: 2; without background 1, without foreground 1" in str(found)


@pytest.mark.skipif(not SEC_PICKLE.exists(), reason="SEC's published cues are not at hand")
def test_secs_published_cues():
    cues, labels = read_cue_pickle(SEC_PICKLE, num_classes=21, grid=41)
    assert cues.keys() == labels.keys() and len(cues) == 10582
    assert all(cue[list(labels[k])].any((1, 2)).all() for k, cue in cues.items())
    found = cue_statistics(cues.values(), labels.values())
    assert found == CueStatistics(
        images=10582,
        background=pytest.approx(0.098, abs=5e-4),
        foreground=pytest.approx(0.142, abs=5e-4),
        smallest=19,
        largest=819,
        labels={1: 6804, 2: 2857, 3: 758, 4: 136, 5: 27},
        multi_labelled=0,
        without_background=0,
        without_foreground=0,
    )
    numbers = image_numbers(["2008_007028", "2009_005170"], SEC_LIST)
    assert numbers == {"2008_007028": 0, "2009_005170": 10581}


def test_preview_paints_cells_where_they_are():
    image = np.full((6, 9, 3), 200, np.uint8)
    cues = np.zeros((3, 2, 3), bool)
    cues[1, 0, 0] = cues[2, 1, 2] = cues[0, 1, 0] = True
    picture = cue_preview(image, cues)
    assert picture.dtype == np.uint8 and picture.shape == image.shape
    one, two = (picture[at].astype(int) for at in ((0, 0), (5, 8)))
    assert one[0] > one[1] and two[1] > two[0]  # maroon and green, as VOC has them
    assert VOC_PALETTE[1].tolist() == [128, 0, 0]
    assert (picture[5, 0] < picture[0, 8]).all()  # background is darker than no cue
