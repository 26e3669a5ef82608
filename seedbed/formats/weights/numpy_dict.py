"""Reads .npy and .npz files of networks: weights and biases in TensorFlow's axes."""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib.format import MAGIC_PREFIX
from torch import Tensor

from seedbed.formats.pickles import restricted
from seedbed.formats.weights.reading import by_name, reader, tensor

PAIR = {0: "w", 1: "b"}
# Weights hardly compress, but a few kilobytes can hold gigabytes of zeros.
GROWTH = 8
SLACK = 1 << 24  # bytes


# Broken archives and headers raise exceptions of any type.
@reader("NumPy file of weights", Exception)
def read_numpy(path: Path) -> dict[str, Tensor]:
    """Read all arrays as float32 tensors with the file's axes (TensorFlow: height, width, in, out).

    An .npy file holds a dict {layer: {"w": …, "b": …}} or {layer: [weights, biases]}; both give
    the names "{layer}.w" and "{layer}.b". Keys of other nested dicts are joined by dots. Values
    that are not arrays are left out. An .npz file holds plain arrays by name.

    Raises:
        UserError: if the file is missing, damaged, or holds other types.

    """
    if _is_archive(path):
        return _read_npz(path)
    content = restricted.load(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"a {type(content).__name__} without names")
    return by_name((name, tensor(array, array.shape)) for name, array in _named_arrays(content))


def _is_archive(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(len(MAGIC_PREFIX))
    return start.startswith(b"PK\3\4") or (path.suffix == ".npz" and start != MAGIC_PREFIX)


def _named_arrays(content: object, name: str = "") -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(content, np.ndarray):
        yield name, content
    elif isinstance(content, list | tuple):
        named = {PAIR.get(place, place): value for place, value in enumerate(content)}
        yield from _named_arrays(named, name)
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _named_arrays(value, f"{name}.{key}" if name else str(key))


def _read_npz(path: Path) -> dict[str, Tensor]:
    with zipfile.ZipFile(path) as archive:
        claimed = sum(member.file_size for member in archive.infolist())
        if claimed > GROWTH * path.stat().st_size + SLACK:
            raise ValueError(f"it says that it unpacks to {claimed} bytes")
        return by_name(
            (member.filename.removesuffix(".npy"), _read_member(archive, member))
            for member in archive.infolist()
        )


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Tensor:
    # zipfile allocates a stored member's claimed size before it reads.
    if member.compress_size > Path(archive.filename).stat().st_size:
        raise ValueError(f"{member.filename} is longer than the archive")
    with archive.open(member) as file:
        return _read_array(file)


def _read_array(file: IO[bytes]) -> Tensor:
    """Read an array; np.load would allocate whatever size the header claims."""
    shape, fortran, dtype = restricted.read_npy_header(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return tensor(np.frombuffer(file.read(), dtype), shape, "F" if fortran else "C")
