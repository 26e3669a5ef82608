import json
import struct

import numpy as np
import pytest
import torch

from seedbed.formats.weights.safetensors_file import read_safetensors
from seedbed.runtime.errors import UserError
from tests.support.weights_damage import assert_refused, assert_refused_cheaply, assert_survives

torch.set_num_threads(1)


def file(data=b"", **entries):
    """Write a file from the format's description: the header's size, a JSON header, numbers."""
    header = json.dumps(entries).encode()
    return struct.pack("<Q", len(header)) + header + data


def entry(begin, end, *shape, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


ONE = struct.pack("<f", 1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def test_tensors_by_name(path):
    numbers = struct.pack("<6f", *range(6))
    entries = {"conv.weight": entry(0, 16, 2, 1, 2), "conv.bias": entry(16, 24, 2)}
    path.write_bytes(file(numbers, __metadata__={"format": "pt"}, **entries))
    tensors = read_safetensors(path)
    assert set(tensors) == {"conv.weight", "conv.bias"}
    assert torch.equal(tensors["conv.weight"], torch.arange(4.0).reshape(2, 1, 2))
    assert tensors["conv.bias"].tolist() == [4, 5] and tensors["conv.bias"].is_contiguous()


@pytest.mark.parametrize(
    "dtype, data",
    [
        ("F64", np.array([1.5, -2], "<f8").tobytes()),
        ("F16", np.array([1.5, -2], "<f2").tobytes()),
        ("BF16", b"\xc0\x3f\x00\xc0"),
    ],
)
def test_types_become_float32(path, dtype, data):
    path.write_bytes(file(data, a=entry(0, len(data), 2, dtype=dtype)))
    tensors = read_safetensors(path)
    assert tensors["a"].dtype == torch.float32 and tensors["a"].tolist() == [1.5, -2]


def test_whole_numbers_become_float32(path):
    path.write_bytes(file(struct.pack("<q", 7), steps=entry(0, 8, dtype="I64")))
    assert torch.equal(read_safetensors(path)["steps"], torch.tensor(7.0))


def test_tensors_outlive_the_file_and_may_be_written(path):
    path.write_bytes(file(ONE, a=entry(0, 4, 1)))
    tensors = read_safetensors(path)
    path.write_bytes(b"")
    tensors["a"] += 1
    assert tensors["a"].tolist() == [2]


def test_missing_file(path):
    with pytest.raises(UserError, match=r"net\.safetensors do not exist; check the name"):
        read_safetensors(path)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "damaged.*fetch them again"),
        (b"PK\x03\x04 an archive", "no safetensors file"),
        (file(), "hold no tensors"),
        (file(ONE, a=entry(0, 4, 2)), "no safetensors file"),
        (file(ONE, a=entry(0, 8, 2)), "no safetensors file"),
        (file(ONE, a=entry(0, 4, 1), b=entry(0, 4, 1)), "no safetensors file"),
        (file(ONE, a=entry(0, 4, 1, dtype="PICKLE")), "no safetensors file"),
    ],
)
def test_foreign_and_wrong_files(path, data, message):
    assert_refused(read_safetensors, path, data, message)


@pytest.mark.parametrize(
    "data",
    [
        file(ONE, a=entry(0, 1 << 40, 1 << 38)),
        file(ONE, a=entry(0, 4, 1 << 62, 1 << 62)),
        struct.pack("<Q", 1 << 62) + b"{}",
        struct.pack("<Q", 1 << 26) + b"{}",
    ],
)
def test_absurd_claims_cost_nothing(path, data):
    assert_refused_cheaply(read_safetensors, path, data)


def test_two_tensors_of_one_name(path):
    header = b'{"a":%s,"a":%s}' % tuple(
        json.dumps(entry(begin, begin + 4, 1)).encode() for begin in (0, 4)
    )
    data = struct.pack("<Q", len(header)) + header + ONE * 2
    assert_refused(read_safetensors, path, data, "no safetensors file")


def test_no_damage_gets_past_the_reader(path):
    entries = {"a": entry(0, 8, 2, 1), "b": entry(8, 12, 2, dtype="F16")}
    assert_survives(read_safetensors, path, file(b"\0" * 12, **entries))
