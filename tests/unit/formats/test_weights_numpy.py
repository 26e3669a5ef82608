import io
import struct
import zipfile

import numpy as np
import pytest
import torch

from seedbed.formats.weights.numpy_dict import read_numpy
from seedbed.runtime.errors import UserError
from tests.support.weights_damage import (
    assert_line,
    assert_refused,
    assert_refused_cheaply,
    assert_survives,
)

torch.set_num_threads(1)

W = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)  # height, width, in, out
B = np.array([0.5, -1, 2, 3], np.float32)


@pytest.fixture
def npy(tmp_path):
    return tmp_path / "net.npy"


@pytest.fixture
def npz(tmp_path):
    return tmp_path / "net.npz"


def save(path, content):
    np.save(path, np.array(content, dtype=object), allow_pickle=True)


def header(descr, shape, fortran=False):
    file = io.BytesIO()
    fields = {"descr": descr, "fortran_order": fortran, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w") as file:
        for name, data in members.items():
            file.writestr(f"{name}.npy", data)
    return path.read_bytes()


# A dict in an .npy.


@pytest.mark.parametrize("layer", [{"w": W, "b": B}, [W, B], (W, B)])
def test_layers_give_weights_and_biases_as_they_lie(npy, layer):
    save(npy, {"conv1_1": layer})
    tensors = read_numpy(npy)
    assert list(tensors) == ["conv1_1.w", "conv1_1.b"]
    assert torch.equal(tensors["conv1_1.w"], torch.arange(24.0).reshape(1, 2, 3, 4))
    assert tensors["conv1_1.b"].tolist() == B.tolist()


def test_other_layouts_keep_their_names(npy):
    layer = {"weights": W, "batch norm": {"mean": B}}
    save(npy, {"conv": layer, "plain": B, 7: [W, B, B], "epoch": 3, "by": "someone"})
    names = ["conv.weights", "conv.batch norm.mean", "plain", "7.w", "7.b", "7.2"]
    assert list(read_numpy(npy)) == names


def test_numbers_become_contiguous_float32(npy):
    transposed = np.arange(6, dtype=np.float64).reshape(2, 3).T
    content = {
        "double": transposed,
        "big": np.array([1, 2], ">f4"),
        "half": np.array([0.5], np.float16),
        "whole": np.array([-3]),
        "scalar": np.array(4.0),
    }
    save(npy, content)
    tensors = read_numpy(npy)
    assert all(value.dtype == torch.float32 for value in tensors.values())
    assert all(value.is_contiguous() for value in tensors.values())
    assert {name: value.tolist() for name, value in tensors.items()} == {
        "double": [[0, 3], [1, 4], [2, 5]],
        "big": [1, 2],
        "half": [0.5],
        "whole": [-3],
        "scalar": 4,
    }


def python2_npy():
    """What Python 2 made of {"conv": [[1.5, -2.5]]}: all text and bytes are its `str`."""

    def text(data):
        return b"U" + bytes([len(data)]) + data

    def dtype(code, order):
        made = b"cnumpy\ndtype\n" + text(code) + b"K\0K\1\x87R"
        return made + b"(K\3" + text(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"

    def array(shape, dtype, elements):
        made = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85" + text(b"b")
        return made + b"\x87R(K\1(" + shape + b"t" + dtype + b"\x89" + elements + b"tb"

    numbers = array(b"K\2", dtype(b"f4", b"<"), text(struct.pack("<2f", 1.5, -2.5)))
    content = b"}" + text(b"conv") + b"]" + numbers + b"as"
    outer = array(b"", dtype(b"O8", b"|"), b"]" + content + b"a")
    return header("|O", ()) + b"\x80\2" + outer + b"."


def test_dict_written_by_python_2(npy):
    npy.write_bytes(python2_npy())
    assert {name: value.tolist() for name, value in read_numpy(npy).items()} == {
        "conv.w": [1.5, -2.5]
    }


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_nothing_is_executed(npy, capsys):
    save(npy, {"conv": [Evil(), B]})
    with pytest.raises(UserError) as caught:
        read_numpy(npy)
    assert_line(caught.value, npy)
    assert capsys.readouterr().out == ""


def test_two_arrays_of_one_name(npy):
    save(npy, {"conv": {"w": W}, "conv.w": W})
    assert_refused(read_numpy, npy, npy.read_bytes(), "two tensors are called conv.w")


# An .npz.


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_archive_of_arrays(npz, write):
    write(npz, **{"conv/w": W, "b": B, "f": np.asfortranarray(W[0, 0]), "n": np.array([7])})
    tensors = read_numpy(npz)
    assert list(tensors) == ["conv/w", "b", "f", "n"]
    assert torch.equal(tensors["conv/w"], torch.from_numpy(W))
    assert torch.equal(tensors["f"], torch.from_numpy(W[0, 0]))
    assert tensors["f"].is_contiguous() and tensors["n"].dtype == torch.float32


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(npz):
    with zipfile.ZipFile(npz, "w") as file:
        for _ in range(2):
            file.writestr("a.npy", header("<f4", (1,)) + b"\0\0\x80\x3f")
    assert_refused(read_numpy, npz, npz.read_bytes(), "two tensors are called a")


def test_archive_of_objects_is_refused(npz, capsys):
    np.savez(npz, a=np.array([Evil()], dtype=object))
    assert_refused(read_numpy, npz, npz.read_bytes(), "holds Python objects")
    assert capsys.readouterr().out == ""


# Files that are none.


@pytest.mark.parametrize("name", ["absent.npy", "absent.npz"])
def test_missing_file(tmp_path, name):
    with pytest.raises(UserError, match=f"{name} (is missing|do not exist).*name"):
        read_numpy(tmp_path / name)


def test_error_of_several_lines_becomes_one(npy):
    assert_refused(read_numpy, npy, header("|O", ()) + b"\x80\2U\1aQ.", "persistent")


def test_array_without_names(npy):
    np.save(npy, B)
    assert_refused(read_numpy, npy, npy.read_bytes(), "ndarray without names")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, {"layer": {}}])
def test_dict_without_arrays(npy, content):
    save(npy, content)
    assert_refused(read_numpy, npy, npy.read_bytes(), "hold no tensors")


@pytest.mark.parametrize("array", [np.array(["text"]), np.array([1j])])
def test_arrays_that_are_no_numbers(npy, array):
    save(npy, {"layer": [array]})
    assert_refused(read_numpy, npy, npy.read_bytes(), f"an array of {array.dtype}")


def test_member_that_is_no_array(npz):
    with zipfile.ZipFile(npz, "w") as file:
        file.writestr("notes.txt", "a program of the author's")
    assert_refused(read_numpy, npz, npz.read_bytes(), "no NumPy file of weights")


@pytest.mark.parametrize(
    "shape", [(1 << 31,), (1 << 20, 1 << 20), (0, 1 << 63), (-1,), (1,) * 33, (1 << 62,) * 400]
)
def test_absurd_claims_cost_nothing(npz, shape):
    data = archive(npz, a=header("<f4", shape) + b"\0\0\x80\x3f")
    assert_refused_cheaply(read_numpy, npz, data)


def test_sizes_claimed_by_the_archive_cost_nothing(npz):
    member = header("<f4", (1,)) + b"\0\0\x80\x3f"
    size = struct.pack("<I", len(member))
    data = archive(npz, a=member).replace(size * 2, struct.pack("<2I", 1 << 31, 1 << 31))
    assert_refused_cheaply(read_numpy, npz, data)


def test_no_damage_gets_past_the_dict(npy):
    save(npy, {"conv": {"w": W, "b": B}, "fc": [W[0, 0], B]})
    assert_survives(read_numpy, npy, npy.read_bytes(), flips=300)


@pytest.mark.filterwarnings("ignore:.*cast:RuntimeWarning")
@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_no_damage_gets_past_the_archive(npz, write):
    write(npz, a=W[0, 0], b=B)
    assert_survives(read_numpy, npz, npz.read_bytes(), flips=300)
