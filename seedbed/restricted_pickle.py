"""Pickles and object arrays from outside, read without running anything that they ask for.

A pickle calls functions by name. Here the names stand for a few functions of our own, which make
arrays of numbers, text and plain containers; every other name is refused. NumPy's own
constructors stay out of reach: a forged dtype state makes them read memory that is not theirs.
"""

import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from seedbed.errors import UserError

KINDS = "biufcSUO"


class _DType:
    """Stands for numpy.dtype: takes a plain type and its byte order, nothing else."""

    def __init__(self, code: str, *_: object) -> None:
        dtype = np.dtype(code)
        if dtype.kind not in KINDS:
            raise pickle.UnpicklingError(f"an array of type {code}")
        self.numpy = dtype

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.numpy = self.numpy.newbyteorder(state[1])


class _Array:
    """Stands for numpy.ndarray until its contents are known; no key of a dict, no set member."""

    __hash__ = None

    def __init__(self, *_: object) -> None:
        self.elements: Any = None

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, dtype, fortran, self.elements = state
        self.dtype, self.order = dtype.numpy, "F" if fortran else "C"

    def plain(self) -> np.ndarray:
        """Give the array that the pickle describes."""
        if self.dtype.kind != "O":
            flat = np.frombuffer(_bytes(self.elements), self.dtype).copy()
        else:
            flat = np.empty(len(self.elements), dtype=object)
            for place, element in enumerate(self.elements):
                flat[place] = _plain(element)
        return flat.reshape(self.shape, order=self.order)


def _bytes(data: bytes | str) -> bytes:
    """Give bytes as they were; Python 2 wrote them as text."""
    return data.encode("latin1") if isinstance(data, str) else data


def _scalar(dtype: _DType, data: bytes | str) -> np.generic:
    if dtype.numpy.kind == "O":
        raise pickle.UnpicklingError("a scalar of objects")
    return np.frombuffer(_bytes(data), dtype.numpy)[0]


def _from_buffer(data: bytes, dtype: _DType, shape: tuple[int, ...], order: str) -> np.ndarray:
    return np.frombuffer(data, dtype.numpy).reshape(shape, order=order).copy()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"an encoding {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


ALLOWED = {
    "numpy.ndarray": _Array,
    "numpy.dtype": _DType,
    "multiarray._reconstruct": _Array,
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,
    "builtins.bytes": _no_bytes,  # how old protocols write empty ones; bytes(n) would fill memory
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "collections.OrderedDict": dict,
}


class _Unpickler(pickle.Unpickler):
    """Finds our functions alone."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as its parent
        """Look a name up, under what its module is called today."""
        module = re.sub(r"^numpy\._?core\.", "", module).replace("__builtin__", "builtins")
        known = f"{module}.{name}"
        if known not in ALLOWED:
            raise pickle.UnpicklingError(f"a {module}.{name}")
        return ALLOWED[known]


def _plain(value: Any) -> Any:  # noqa: ANN401 - any content of a pickle
    """Replace our stand-ins by arrays, in containers as well."""
    if isinstance(value, _Array):
        return value.plain()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value


def _read_npy(file: BinaryIO) -> Any:  # noqa: ANN401 - any content of a pickle
    version = np.lib.format.read_magic(file)
    reader = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
    _, _, dtype = getattr(np.lib.format, reader)(file)
    if not dtype.hasobject:
        file.seek(0)
        return np.load(file, allow_pickle=False)
    array = _plain(_Unpickler(file, encoding="latin1").load())
    return array[()] if array.ndim == 0 else array


def load(path: Path) -> Any:  # noqa: ANN401 - any content of a pickle
    """Read a `.npy` file, or a pickle of Python 2 or 3, of arrays, numbers, text, containers.

    A 0-d object array gives what it holds. Raises UserError for a file that is missing, broken or
    asks for anything else; nothing that it names is imported or called.
    """
    try:
        with Path(path).open("rb") as file:
            if Path(path).suffix == ".npy":
                return _read_npy(file)
            return _plain(_Unpickler(file, encoding="latin1").load())
    except FileNotFoundError:
        raise UserError(f"{path} is missing: put it there, or mend its name") from None
    except Exception as error:  # a broken or hostile pickle fails in every way there is
        raise UserError(
            f"cannot read {path}: it holds {error}, and only arrays and plain containers "
            "are read from such files; write it again from those"
        ) from error
