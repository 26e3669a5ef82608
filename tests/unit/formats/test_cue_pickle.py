"""DSRG's pickle of localisation cues."""

import gzip
import pickle
import pickletools
from pathlib import Path

import numpy as np
import pytest

from seedbed.formats.cue_pickle import by_image, read_cue_labels, read_cue_pickle, write_cue_pickle
from seedbed.runtime.errors import UserError
from tests.support.cues import CUES, MULTI_HOT


def test_pickle_round_trip(tmp_path):
    cues = [CUES, MULTI_HOT]
    write_cue_pickle(tmp_path / "cues.pickle", cues, [(3, 5), (5, 3)])
    found, labels = read_cue_pickle(tmp_path / "cues.pickle", num_classes=6, grid=3)
    assert labels == {0: (3, 5), 1: (5, 3)}
    assert list(found) == [0, 1] and all((found[k] == cues[k]).all() for k in found)


def test_pickle_has_the_published_layout(tmp_path):
    path = tmp_path / "cues.pickle"
    write_cue_pickle(path, [CUES], [[3, 5]])
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
    write_cue_pickle(tmp_path / "a.pickle", [CUES], [(3, 5)])
    packed = tmp_path / "a.pickle.gz"
    packed.write_bytes(gzip.compress((tmp_path / "a.pickle").read_bytes()))
    assert (read_cue_pickle(packed, num_classes=6, grid=3)[0][0] == CUES).all()
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
