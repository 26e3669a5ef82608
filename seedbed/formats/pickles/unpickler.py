"""An unpickler that makes arrays and plain containers only.

A pickle is a program. This unpickler accepts only the opcodes that make such objects, replaces the
names in the pickle by a few functions of our own, and bounds what is made by the size of the file:
a short pickle could otherwise fill memory with copies of one part, or need endless hashing. NumPy's
own constructors are never called: with a forged dtype state they read foreign memory.
"""

import pickle
import re
from collections.abc import Callable, Mapping
from mmap import mmap
from typing import Any

from seedbed.formats.pickles.names import NAMES, Array, DType, StandIn, Tuple, plain_frozenset

MAX_READS = 1 << 23
# A pickle may make GROWTH times its size plus SLACK, counted in values and bytes. Without objects
# that have several references it makes less than its size.
GROWTH = 8
SLACK = 1 << 16
MAX_INTEGER_BITS = 2048  # longer integers cannot be printed
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


class Opcodes(dict[int, Callable]):
    """The handler of each allowed opcode."""

    def __missing__(self, code: int) -> Callable:
        raise pickle.UnpicklingError(f"the opcode {code}")


class _Source:
    """A memory-mapped file that can be read a limited number of times.

    Each opcode reads at least once, and a kilobyte of `.gz` can hold a million opcodes.
    """

    def __init__(self, data: mmap) -> None:
        self.readline = data.readline
        self._read = data.read
        self._left = MAX_READS

    def read(self, size: int) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise pickle.UnpicklingError(f"more than {MAX_READS} parts")
        return self._read(size)


# The one in Python: the C version allocates gigabytes for a forged memo index.
class Unpickler(pickle._Unpickler):
    """Reads a pickle from the file's position; limits depend on the size of the whole file.

    A broken or forbidden pickle raises exceptions of any type.
    """

    names: Mapping[str, Any] = NAMES
    dispatch = Opcodes(
        (code, pickle._Unpickler.dispatch[code])
        for code in (getattr(pickle, name)[0] for name in OPCODES)
    )

    def __init__(self, file: mmap) -> None:
        super().__init__(_Source(file), encoding="latin1")
        self._left = GROWTH * len(file) + SLACK

    def read_plain(self) -> Any:  # noqa: ANN401 - any content of a pickle
        """The pickled object; objects with several references are copied."""
        return self.plain(self.load())

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as its parent
        """Look up a name; old names of modules are translated."""
        module = re.sub(r"^numpy\._?core\.", "", module).replace("__builtin__", "builtins")
        full_name = f"{module}.{name}"
        if full_name not in self.names:
            raise pickle.UnpicklingError(f"a {module}.{name}")
        return self.names[full_name]

    def spend(self, size: int) -> None:
        """Count what is made: one for each value, and its bytes."""
        self._left -= size
        if self._left < 0:
            raise pickle.UnpicklingError("much more than its size allows")

    def plain(self, value: Any) -> Any:  # noqa: ANN401 - any content of a pickle
        """Replace stand-ins by arrays and tuples, also inside containers."""
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
        self.read(8)  # the frame's length is not needed

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
            return  # attributes of an OrderedDict, such as the versions in a state dict
        if not isinstance(self.stack[-1], Array | DType):
            raise pickle.UnpicklingError("a state of no array")
        self.stack[-1].set_state(state)

    dispatch[pickle.FRAME[0]] = _load_frame
    dispatch[pickle.FROZENSET[0]] = _load_frozenset
    dispatch[pickle.REDUCE[0]] = _load_reduce
    dispatch[pickle.BUILD[0]] = _load_build


def _converted(load: Callable[[Unpickler], None], convert: Callable) -> Callable[[Unpickler], None]:
    """A handler that converts what another one has put on the stack."""

    def load_and_convert(unpickler: Unpickler) -> None:
        load(unpickler)
        unpickler.stack[-1] = convert(unpickler.stack[-1])

    return load_and_convert


def _short(number: int) -> int:
    if number.bit_length() > MAX_INTEGER_BITS:
        raise pickle.UnpicklingError(f"an integer of {number.bit_length()} bits")
    return number


for _names, _convert in (
    (("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), Tuple),
    (("INT", "LONG"), _short),
):
    for _code in (getattr(pickle, name)[0] for name in _names):
        Unpickler.dispatch[_code] = _converted(Unpickler.dispatch[_code], _convert)
# Python's own handler allocates whatever length the pickle claims.
Unpickler.dispatch[pickle.BYTEARRAY8[0]] = _converted(
    Unpickler.dispatch[pickle.BINBYTES8[0]], bytearray
)
