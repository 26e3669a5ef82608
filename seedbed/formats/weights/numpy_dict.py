"""NumPy's .npy and .npz as they hold networks: layers' weights and biases, in TensorFlow's axes."""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import numpy as np
from torch import Tensor

from seedbed.formats.pickles import restricted as restricted_pickle
from seedbed.formats.weights.reading import by_name, reader, tensor

PAIR = {0: "w", 1: "b"}
# Weights hardly shrink. More can be zeros by the gigabyte, packed into a few kilobytes.
GROWTH = 8
SLACK = 1 << 24  # bytes


# Broken archives and headers fail in every way there is.
@reader("NumPy file of weights", Exception)
def read_numpy(path: Path) -> dict[str, Tensor]:
    """Arrays as float32 tensors, their axes as in the file (TensorFlow: height, width, in, out).

    An .npy of a dict {layer: {"w": …, "b": …}} or {layer: [weights, biases]} gives "{layer}.w"
    and "{layer}.b"; other keys, nested at any depth, are joined by dots, and what is no array is
    left out. An .npz of plain arrays gives its own names. Raises UserError for a file that is
    missing, damaged, or made of anything but arrays and plain containers.
    """
    if path.suffix == ".npz":
        return _read_npz(path)
    content = restricted_pickle.load(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"a {type(content).__name__} without names")
    return by_name((name, tensor(array, array.shape)) for name, array in _named_arrays(content))


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
    # Python sets memory aside for a stored member before it looks for its bytes.
    if member.compress_size > Path(archive.filename).stat().st_size:
        raise ValueError(f"{member.filename} is longer than the archive")
    with archive.open(member) as file:
        return _read_array(file)


def _read_array(file: IO[bytes]) -> Tensor:
    """Read an array from its bytes; np.load would set memory aside for what the header claims."""
    shape, fortran, dtype = restricted_pickle.read_npy_header(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return tensor(np.frombuffer(file.read(), dtype), shape, "F" if fortran else "C")
