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
    found = read_mat(tmp_path / "a.mat")
    assert list(found) == list(content)
    for name, array in content.items():
        np.testing.assert_array_equal(found[name], array)


def test_structs_have_their_fields_and_the_rest_is_none(tmp_path):
    cells = np.array([[A, None]], object)[:, :1]
    fields = {"first": A, "a_longer_name": A[:2] + 0.5, "cells": cells, "inner": {"a": A}}
    others = {"text": "text", "complex": A + 1j, "cells": cells}
    scipy.io.savemat(tmp_path / "a.mat", {"s": fields, **others})
    found = read_mat(tmp_path / "a.mat")
    assert {name: found[name] for name in others} == dict.fromkeys(others)
    assert list(found["s"]) == list(fields)
    np.testing.assert_array_equal(found["s"]["first"], A)
    np.testing.assert_array_equal(found["s"]["a_longer_name"], A[:2] + 0.5)
    assert found["s"]["cells"] is None and found["s"]["inner"] is None


@pytest.mark.parametrize(("order", "mark"), [("<", b"\x00\x01IM"), (">", b"\x01\x00MI")])
def test_both_orders_of_bytes(tmp_path, order, mark):
    """By hand: uint16 (2, 1) called x, its name and its two numbers in short elements."""

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
def test_refuses_other_files(tmp_path, data):
    (tmp_path / "a.mat").write_bytes(data)
    with pytest.raises(ValueError, match=r"no MATLAB file|element of|cut short"):
        read_mat(tmp_path / "a.mat")


def test_unpacks_to_a_limit(tmp_path, monkeypatch):
    scipy.io.savemat(tmp_path / "a.mat", {"a": np.zeros((100, 100))}, do_compression=True)
    monkeypatch.setattr("seedbed.formats.mat.MOST_UNPACKED", 1000)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        read_mat(tmp_path / "a.mat")
