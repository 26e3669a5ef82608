import struct
import zlib

import numpy as np
import pytest
import scipy.io

from seedbed.formats.mat import read_mat

A = np.arange(12).reshape(3, 4) * 3
HEAD = b"MATLAB 5.0 MAT-file".ljust(124)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u4", "i8", "f4", "f8"])
def test_reads_what_scipy_writes(tmp_path, dtype, packed):
    content = {"a": A.astype(dtype), "row": A[:1].astype(dtype), "empty": np.zeros((0, 3), dtype)}
    scipy.io.savemat(tmp_path / "a.mat", content, do_compression=packed)
    variables = read_mat(tmp_path / "a.mat")
    assert list(variables) == list(content)
    for name, array in content.items():
        np.testing.assert_array_equal(variables[name], array)


def test_structs_of_numbers_are_read_and_other_classes_are_none(tmp_path):
    cells = np.array([[A, None]], object)[:, :1]
    fields = {"first": A, "a_longer_name": A[:2] + 0.5, "cells": cells, "inner": {"a": A}}
    others = {"text": "text", "complex": A + 1j, "cells": cells}
    scipy.io.savemat(tmp_path / "a.mat", {"s": fields, **others})
    variables = read_mat(tmp_path / "a.mat")
    assert {name: variables[name] for name in others} == dict.fromkeys(others)
    assert list(variables["s"]) == list(fields)
    np.testing.assert_array_equal(variables["s"]["first"], A)
    np.testing.assert_array_equal(variables["s"]["a_longer_name"], A[:2] + 0.5)
    assert variables["s"]["cells"] is None and variables["s"]["inner"] is None


@pytest.mark.parametrize(("order", "mark"), [("<", b"\x00\x01IM"), (">", b"\x01\x00MI")])
def test_both_byte_orders(tmp_path, order, mark):
    """Written by hand: a uint16 array (2, 1) called x, with name and numbers in small elements."""

    def element(kind, data):
        return struct.pack(f"{order}2I", kind, len(data)) + data

    def short(kind, data):
        return struct.pack(f"{order}I", len(data) << 16 | kind) + data.ljust(4, b"\0")

    body = element(6, struct.pack(f"{order}2I", 11, 0))
    body += element(5, struct.pack(f"{order}2i", 2, 1)) + short(1, b"x")
    body += short(4, struct.pack(f"{order}2H", 258, 7))
    (tmp_path / "a.mat").write_bytes(HEAD + mark + element(14, body))
    assert read_mat(tmp_path / "a.mat")["x"].tolist() == [[258], [7]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * 200,
        HEAD + b"\x00\x01IM" + struct.pack("<2I", 14, 100),
        HEAD + b"\x00\x01IM" + struct.pack("<2I", 15, 9) + zlib.compress(bytes(100))[:9],
    ],
)
def test_refuses_damaged_files(tmp_path, data):
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(ValueError, match=r"not a MATLAB file|an element claims|cut short"):
        read_mat(tmp_path / "a.mat")


def test_refuses_more_than_the_limit_when_unpacked(tmp_path, monkeypatch):
    scipy.io.savemat(tmp_path / "a.mat", {"a": np.zeros((100, 100))}, do_compression=True)
    monkeypatch.setattr("seedbed.formats.mat.MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        read_mat(tmp_path / "a.mat")


def test_deeply_nested_cells_are_none_and_crash_nothing(tmp_path):
    """scipy.io.loadmat recurses once a level, in C, and crashes on this file."""
    depth = 100_000
    prefix = struct.pack("<4I4I2I", 6, 8, 1, 0, 5, 8, 1, 1, 1, 0)  # a cell of 1 x 1 without a name
    level = 8 + len(prefix)
    sizes = [len(prefix) + level * k for k in reversed(range(depth))]
    body = b"".join(struct.pack("<2I", 14, size) + prefix for size in sizes)
    packed = zlib.compress(body)
    element = struct.pack("<2I", 15, len(packed)) + packed
    (tmp_path / "a.mat").write_bytes(HEAD + b"\x00\x01IM" + element)
    assert read_mat(tmp_path / "a.mat") == {"": None}
