"""Reads MXNet's .params, a list of NDArrays and their names, without MXNet.

All numbers are little-endian. Source: MXNet 1.x, NDArray::Save and NDArray::Load.
"""

from math import prod
from pathlib import Path

import numpy as np
from torch import Tensor

from seedbed.formats.weights.reading import MAX_AXES, by_name, reader, tensor, view

LIST_MAGIC = 0x112
V1_MAGIC, V2_MAGIC = 0xF993FAC8, 0xF993FAC9
DTYPES = ("<f4", "<f8", "<f2", "u1", "<i4", "i1", "<i8")  # by type flag
DENSE = 0
CONTEXT_BYTES = 8  # device type and number, which are ignored


class _Bytes:
    """A position in a file; raises ValueError instead of reading beyond the end."""

    def __init__(self, data: memoryview) -> None:
        self.data = data

    def take(self, size: int) -> memoryview:
        if size > len(self.data):
            raise ValueError(f"{size} bytes wanted, {len(self.data)} are left")
        taken, self.data = self.data[:size], self.data[size:]
        return taken

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def integers(self, count: int, size: int) -> list[int]:
        return np.frombuffer(self.take(count * size), f"<u{size}").tolist()


@reader("MXNet parameter file")
def read_mxnet(path: Path) -> dict[str, Tensor]:
    """Read all arrays as float32 tensors by their names: "arg:conv1a_weight", "aux:…".

    All three generations of dense arrays are read; arrays without a shape are left out.

    Raises:
        UserError: if the file is missing or damaged, or has sparse arrays or no names.

    """
    data = _Bytes(view(path))
    magic, _ = data.integers(2, 8)
    if magic != LIST_MAGIC:
        raise ValueError(f"it begins with {magic:#x}, not {LIST_MAGIC:#x}")
    tensors = [_read_array(data) for _ in range(data.integer(8))]
    names = [_read_name(data) for _ in range(data.integer(8))]
    if len(names) != len(tensors):
        raise ValueError(f"{len(tensors)} arrays, but {len(names)} names")
    pairs = zip(names, tensors, strict=True)
    return by_name((name, value) for name, value in pairs if value is not None)


def _read_array(data: _Bytes) -> Tensor | None:
    shape = _read_shape(data)
    if not shape:
        return None
    data.take(CONTEXT_BYTES)
    flag = data.integer(4)
    if flag >= len(DTYPES):
        raise ValueError(f"an array of the unknown type {flag}")
    dtype = np.dtype(DTYPES[flag])
    return tensor(np.frombuffer(data.take(prod(shape) * dtype.itemsize), dtype), shape)


def _read_shape(data: _Bytes) -> list[int]:
    """Read the fields before the context; the first generation has no magic number."""
    magic = data.integer(4)
    if magic == V2_MAGIC:
        storage = data.integer(4)
        if storage != DENSE:
            raise ValueError("it has sparse arrays: save them with tostype('default')")
    modern = magic in (V1_MAGIC, V2_MAGIC)
    dims = data.integer(4) if modern else magic
    if dims > MAX_AXES:
        raise ValueError(f"an array of {dims} dimensions")
    return data.integers(dims, 8 if modern else 4)


def _read_name(data: _Bytes) -> str:
    return bytes(data.take(data.integer(8))).decode()
