import pickletools

import numpy as np
import pytest

from seedbed.formats.psa import read_cam, read_scores, write_cam, write_scores
from seedbed.runtime.errors import UserError

MAPS = {3: np.arange(6, dtype=np.float64).reshape(2, 3) / 7, 20: np.ones((2, 3))}


def test_cams_count_classes_from_zero(tmp_path):
    path = tmp_path / "a.npy"
    write_cam(path, MAPS)
    content = np.load(path, allow_pickle=True).item()  # as PSA's own code reads it
    assert sorted(content) == [2, 19] and all(v.dtype == np.float32 for v in content.values())
    found = read_cam(path)
    assert list(found) == [3, 20]
    np.testing.assert_array_equal(found[3], MAPS[3].astype(np.float32))


def test_scores_hold_background_at_zero(tmp_path):
    path = tmp_path / "a.npy"
    write_scores(path, {0: MAPS[3], 5: MAPS[20]})
    assert sorted(np.load(path, allow_pickle=True).item()) == [0, 5]
    assert list(read_scores(path)) == [0, 5]
    write_cam(path, MAPS)
    with pytest.raises(UserError, match="background"):
        read_scores(path)


def test_written_so_that_old_programs_can_read_it(tmp_path):
    path = tmp_path / "a.npy"
    write_cam(path, MAPS)
    with path.open("rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        np.lib.format.read_array_header_1_0(file)
        operations = [(op.name, value) for op, value, _ in pickletools.genops(file)]
    assert operations[0] == ("PROTO", 2)
    named = [value for name, value in operations if name == "GLOBAL"]
    assert "numpy.core.multiarray _reconstruct" in named
    assert not any("_core" in value for value in named)


@pytest.mark.parametrize(
    "content, message",
    [
        ([1, 2], "no dict"),
        ({}, "no dict"),
        ({"cat": np.ones((2, 2))}, "key 'cat'"),
        ({-1: np.ones((2, 2))}, "key -1"),
        ({1: np.ones(3)}, "class 1"),
        ({1: "map"}, "class 1"),
        ({1: np.ones((2, 2)), 2: np.ones((2, 3))}, "several sizes"),
        (
            {1: np.ones((2, 2)), 2: np.array([[1, np.nan], [1, 1]])},
            "not a finite number for class 2",
        ),
    ],
)
def test_anything_else_is_named(tmp_path, content, message):
    path = tmp_path / "a.npy"
    holder = np.empty((), dtype=object)
    holder[()] = content
    np.save(path, holder, allow_pickle=True)
    with pytest.raises(UserError, match=message):
        read_cam(path)
