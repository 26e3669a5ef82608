"""The few names that a pickle may use, and our own functions that stand in for them."""

import pickle
import re
from typing import Any, Protocol

import numpy as np

NUMBERS_AND_TEXT = "biufcSU"
DTYPE = re.compile(rf"[<>|=]?[{NUMBERS_AND_TEXT}O][0-9]{{0,7}}")


class Maker(Protocol):
    """Converts stand-ins to arrays after a pickle is read; implemented by `Unpickler`."""

    def spend(self, size: int) -> None:
        """Count bytes before they are allocated; raises an error if there are too many."""

    def plain(self, value: Any) -> Any:  # noqa: ANN401 - any content of a pickle
        """Replace the stand-ins in a value."""


class DType:
    """Stands in for numpy.dtype; accepts a plain type and its byte order only."""

    def __init__(self, code: str, *_: object) -> None:
        if not isinstance(code, str) or not DTYPE.fullmatch(code):
            raise pickle.UnpicklingError(f"an array of type {code}")
        self.numpy = np.dtype(code)

    def set_state(self, state: list) -> None:
        """Set the byte order."""
        if state[1] in ("<", ">"):
            self.numpy = self.numpy.newbyteorder(state[1])


class StandIn:
    """Stands in for an array until the pickle is read; not hashable."""

    __hash__ = None

    def plain(self, maker: "Maker") -> object:
        """The array; its bytes must be counted with `maker.spend` first."""
        raise NotImplementedError


class Array(StandIn):
    """Stands in for numpy.ndarray."""

    def __init__(self, *_: object) -> None:
        self.elements: Any = None

    def set_state(self, state: list) -> None:
        """Set shape, type, order and elements."""
        _, self.shape, dtype, fortran, self.elements = state
        self.dtype, self.order = dtype.numpy, "F" if fortran else "C"

    def plain(self, maker: "Maker") -> np.ndarray:
        """The array."""
        maker.spend(len(self.elements))
        if self.dtype.kind != "O":
            flat = np.frombuffer(_bytes(self.elements), self.dtype).copy()
        else:
            flat = np.empty(len(self.elements), dtype=object)
            for place, element in enumerate(self.elements):
                flat[place] = maker.plain(element)
        return flat.reshape(self.shape, order=self.order)


class Tuple(list):
    """Stands in for a tuple; not hashable, as hashing nested tuples can take exponential time."""


def _bytes(data: bytes | str) -> bytes:
    """Bytes, which Python 2 wrote as text."""
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
    """A frozenset of items; raises UnpicklingError for nested sets."""
    # Comparing nested sets can take exponential time.
    if any(isinstance(item, frozenset) for item in items):
        raise pickle.UnpicklingError("a set of sets")
    return frozenset(items)


NAMES = {
    "numpy.ndarray": Array,
    "numpy.dtype": DType,
    "multiarray._reconstruct": Array,
    "multiarray.scalar": _scalar,
    "numeric._frombuffer": _from_buffer,
    "_codecs.encode": _encode,
    "builtins.bytes": _no_bytes,  # how old protocols write b""; bytes(n) would allocate memory
    "builtins.set": set,
    "builtins.frozenset": plain_frozenset,
    "collections.OrderedDict": dict,
}
