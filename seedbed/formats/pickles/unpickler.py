"""A machine for pickles that makes arrays and plain containers, and nothing else.

A pickle is a program. Here it has the opcodes alone that such things are made by, its names stand
for a few functions of our own, and what it makes is bounded by its size: a short one could
otherwise fill memory with copies of a single part, or call for hashes without end. NumPy's own
constructors stay out of reach: a forged dtype state makes them read memory that is not theirs.
"""

import pickle
import re
from collections.abc import Callable, Mapping
from mmap import mmap
from typing import Any

from seedbed.formats.pickles.names import NAMES, Array, DType, StandIn, Tuple, plain_frozenset

MOST_READS = 1 << 23
# What a pickle may make, in values and bytes, for each of its own bytes, and beyond that. Without
# parts that stand in several places it is less than one.
GROWTH = 8
SLACK = 1 << 16
LONGEST_INTEGER = 2048  # bits; longer ones cannot be printed
OPCODES = (
    *("PROTO", "FRAME", "STOP", "POP", "POP_MARK", "DUP", "MARK", "NONE", "NEWFALSE", "NEWTRUE"),
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT", "STRING"),
    *("BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "EMPTY_TUPLE", "TUPLE"),
    *("TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT"),
    *("DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "ADDITEMS", "FROZENSET", "GLOBAL"),
    *("STACK_GLOBAL", "REDUCE", "BUILD", "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT"),
    *("LONG_BINPUT", "MEMOIZE", "PERSID", "BINPERSID"),
)


class _Opcodes(dict[int, Callable]):
    """What to do at each opcode of a pickle."""

    def __missing__(self, code: int) -> Callable:
        raise pickle.UnpicklingError(f"the opcode {code}")


class _Source:
    """A file, mapped into memory, that is read a limited number of times.

    Each opcode reads once or more. A million of them can be packed into a kilobyte.
    """

    def __init__(self, data: mmap) -> None:
        self.readline = data.readline
        self._read = data.read
        self._left = MOST_READS

    def read(self, size: int) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise pickle.UnpicklingError(f"more than {MOST_READS} parts")
        return self._read(size)


# Python's own in Python, because that in C takes gigabytes for a forged number of its memo.
class Unpickler(pickle._Unpickler):
    """Reads a pickle from where its file stands; bounds what it makes by the whole file's size.

    Raises whatever a broken or forbidden pickle causes.
    """

    names: Mapping[str, Any] = NAMES
    dispatch = _Opcodes(
        (code, pickle._Unpickler.dispatch[code])
        for code in (getattr(pickle, name)[0] for name in OPCODES)
    )

    def __init__(self, file: mmap) -> None:
        super().__init__(_Source(file), encoding="latin1")
        self._left = GROWTH * len(file) + SLACK

    def read_plain(self) -> Any:  # noqa: ANN401 - any content of a pickle
        """Give what the pickle makes; what stands in several places is copied."""
        return self.plain(self.load())

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as its parent
        """Look a name up, under what its module is called today."""
        module = re.sub(r"^numpy\._?core\.", "", module).replace("__builtin__", "builtins")
        known = f"{module}.{name}"
        if known not in self.names:
            raise pickle.UnpicklingError(f"a {module}.{name}")
        return self.names[known]

    def spend(self, size: int) -> None:
        """Count what is made: a value as one, and its bytes."""
        self._left -= size
        if self._left < 0:
            raise pickle.UnpicklingError("much more than its size allows")

    def plain(self, value: Any) -> Any:  # noqa: ANN401 - any content of a pickle
        """Replace our stand-ins by arrays and tuples, in containers as well."""
        self.spend(1)
        if isinstance(value, StandIn):
            return value.plain(self)
        if isinstance(value, dict):
            return {key: self.plain(item) for key, item in value.items()}
        if isinstance(value, Tuple):
            return tuple(map(self.plain, value))
        if isinstance(value, list):
            return list(map(self.plain, value))
        return value

    def _load_frame(self) -> None:
        self.read(8)  # a length of no use: what is in the frame follows

    def _load_frozenset(self) -> None:
        items = self.pop_mark()
        self.append(plain_frozenset(items))

    def _load_reduce(self) -> None:
        arguments = self.stack[-1]
        if not isinstance(arguments, Tuple):
            raise pickle.UnpicklingError("a call without arguments")
        self.spend(sum(len(value) for value in arguments if hasattr(value, "__len__")))
        super().load_reduce()

    def _load_build(self) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], dict):
            return  # attributes of an OrderedDict, such as a state dict's versions
        if not isinstance(self.stack[-1], Array | DType):
            raise pickle.UnpicklingError("a state of no array")
        self.stack[-1].set_state(state)

    dispatch[pickle.FRAME[0]] = _load_frame
    dispatch[pickle.FROZENSET[0]] = _load_frozenset
    dispatch[pickle.REDUCE[0]] = _load_reduce
    dispatch[pickle.BUILD[0]] = _load_build


def _then(load: Callable[[Unpickler], None], convert: Callable) -> Callable[[Unpickler], None]:
    """Convert what an opcode has put on the stack."""

    def load_and_convert(unpickler: Unpickler) -> None:
        load(unpickler)
        unpickler.stack[-1] = convert(unpickler.stack[-1])

    return load_and_convert


def _short(number: int) -> int:
    if number.bit_length() > LONGEST_INTEGER:
        raise pickle.UnpicklingError(f"an integer of {number.bit_length()} bits")
    return number


for _names, _convert in (
    (("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), Tuple),
    (("INT", "LONG"), _short),
):
    for _code in (getattr(pickle, name)[0] for name in _names):
        Unpickler.dispatch[_code] = _then(Unpickler.dispatch[_code], _convert)
# Python's own sets memory aside for what the length says.
Unpickler.dispatch[pickle.BYTEARRAY8[0]] = _then(Unpickler.dispatch[pickle.BINBYTES8[0]], bytearray)
