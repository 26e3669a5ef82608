"""What the names in a pickle stand for: a few functions of our own for those that make arrays."""

import pickle
import re
from typing import Any, Protocol

import numpy as np

NUMBERS_AND_TEXT = "biufcSU"
DTYPE = re.compile(rf"[<>|=]?[{NUMBERS_AND_TEXT}O][0-9]{{0,7}}")


class Maker(Protocol):
    """What makes arrays of stand-ins once the pickle is read, as `unpickler.Unpickler` does."""

    def spend(self, size: int) -> None:
        """Count bytes that are about to be made; raises an error if they are too many."""

    def plain(self, value: Any) -> Any:  # noqa: ANN401 - any content of a pickle
        """Replace stand-ins in a value."""


class DType:
    """Stands for numpy.dtype: takes a plain type and its byte order, nothing else."""

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or not DTYPE.fullmatch(code):
            raise pickle.UnpicklingError(f"an array of type {code}")
        self.numpy = np.dtype(code)

    def set_state(self, state: list) -> None:
        """Take the byte order."""
        if state[1] in ("<", ">"):
            self.numpy = self.numpy.newbyteorder(state[1])


class StandIn:
    """Stands for an array until the pickle is read; no key of a dict, no set member."""

    __hash__ = None

    def plain(self, maker: "Maker") -> object:
        """Give the array; what it takes must be spent first."""
        raise NotImplementedError


class Array(StandIn):
    """Stands for numpy.ndarray."""

    def __init__(self, *_: object) -> None:
        self.elements: Any = None

    def set_state(self, state: list) -> None:
        """Take the shape, the type, the order and the elements."""
        _, self.shape, dtype, fortran, self.elements = state
        self.dtype, self.order = dtype.numpy, "F" if fortran else "C"

    def plain(self, maker: "Maker") -> np.ndarray:
        """Give the array."""
        maker.spend(len(self.elements))
        if self.dtype.kind != "O":
            flat = np.frombuffer(_bytes(self.elements), self.dtype).copy()
        else:
            flat = np.empty(len(self.elements), dtype=object)
            for place, element in enumerate(self.elements):
                flat[place] = maker.plain(element)
        return flat.reshape(self.shape, order=self.order)


class Tuple(list):
    """Stands for a tuple; no key of a dict: hashes of tuples in tuples can take for ever."""


def _bytes(data: bytes | str) -> bytes:
    """Give bytes as they were; Python 2 wrote them as text."""
    return data.encode("latin1") if isinstance(data, str) else data


def _scalar(dtype: DType, data: bytes | str) -> np.generic:
    if dtype.numpy.kind == "O":
        raise pickle.UnpicklingError("a scalar of objects")
    return np.frombuffer(_bytes(data), dtype.numpy)[0]


def _from_buffer(data: bytes, dtype: DType, shape: Tuple, order: str) -> Array:
    array = Array()
    array.set_state([None, shape, dtype, order == "F", data])
    return array


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"an encoding {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


def plain_frozenset(items: list) -> frozenset:
    """Make a frozenset of what is none; raises UnpicklingError for sets of sets."""
    if any(isinstance(item, frozenset) for item in items):  # which take for ever to compare
        raise pickle.UnpicklingError("a set of sets")
    return frozenset(items)


NAMES = {
    "numpy.ndarray": Array,
    "numpy.dtype": DType,
    "multiarray._reconstruct": Array,
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,
    "builtins.bytes": _no_bytes,  # how old protocols write empty ones; bytes(n) would fill memory
    "builtins.set": set,
    "builtins.frozenset": plain_frozenset,
    "collections.OrderedDict": dict,
}
