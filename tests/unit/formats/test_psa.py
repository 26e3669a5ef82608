import pickletools

import numpy as np
import pytest
import torch

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


def write_irn(path, **changes):
    """A file as IRN's step/make_cam.py writes it: two tensors and an array."""
    high_res = np.stack([MAPS[3], MAPS[20]]).astype(np.float32)
    content = {
        "keys": torch.tensor([19, 2]),
        "cam": torch.rand(2, 1, 1),
        "high_res": high_res[::-1],
        **changes,
    }
    np.save(path, {k: v for k, v in content.items() if v is not None}, allow_pickle=True)


def test_irns_cams_count_classes_from_zero_too(tmp_path):
    path = tmp_path / "a.npy"
    write_irn(path)
    found = read_cam(path)
    assert list(found) == [3, 20] and found[3].dtype == np.float32
    for c, values in found.items():
        np.testing.assert_array_equal(values, MAPS[c].astype(np.float32))
    write_irn(path, high_res=torch.ones(2, 2, 3, dtype=torch.float16)[:, :, ::2])  # strided
    assert read_cam(path)[20].tolist() == [[1, 1], [1, 1]]
    write_irn(path, keys=np.array([19, 2]))
    assert list(read_cam(path)) == [3, 20]
    write_irn(path, keys=torch.zeros(0, dtype=torch.long), high_res=np.zeros((0, 2, 3)))
    assert read_cam(path) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"high_res": None}, "has no high_res"),
        ({"keys": torch.tensor([2])}, "no map in high_res for each of its keys"),
        ({"keys": torch.tensor([2, 2])}, "no map in high_res for each of its keys"),
        ({"keys": [2, [3]]}, "parts of several sizes in keys"),
        ({"keys": [{}, {}]}, "no map in high_res for each of its keys"),
        ({"high_res": [np.zeros((2, 3)), np.zeros((3, 2))]}, "parts of several sizes in high_res"),
        ({"high_res": [np.zeros((2, 3)), np.zeros((2, 4))]}, "parts of several sizes in high_res"),
        ({"high_res": [torch.zeros(2, 3), torch.zeros(4)]}, "parts of several sizes in high_res"),
        ({"keys": torch.tensor(2)}, "no map in high_res for each of its keys"),
        ({"keys": torch.tensor([2, -1])}, "the key -1, no class number"),
        ({"keys": torch.tensor([0.5, 1])}, "the key 0.5, no class number"),
        ({"high_res": np.full((2, 2, 3), np.nan)}, "not a finite number"),
        ({"high_res": torch.nn.Linear(1, 1)}, "no map in high_res"),
    ],
)
def test_other_files_of_irns_are_named(tmp_path, changes, message):
    write_irn(tmp_path / "a.npy", **changes)
    with pytest.raises(UserError, match=message):
        read_cam(tmp_path / "a.npy")


def test_a_broken_storage_in_a_pickle_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    write_irn(path)
    whole = path.read_bytes()
    place = whole.index(b"storageq")
    for damaged in (whole[:place] + b"X" + whole[place + 1 :], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="cannot read"):
            read_cam(path)
