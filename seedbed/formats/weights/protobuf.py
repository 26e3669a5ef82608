"""Reads Protocol Buffers' wire format without a compiled schema and without copies.

A message is a sequence of fields, each a key (field number and wire type in one varint) and a
value. Source: Protocol Buffers documentation, "Encoding".
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum

import numpy as np

Value = int | memoryview


class Wire(IntEnum):
    """How a field's value is encoded; the two deprecated group types are not supported."""

    VARINT = 0
    FIXED64 = 1
    BYTES = 2  # text, nested messages, packed numbers
    FIXED32 = 5


FIXED_SIZES = {Wire.FIXED64: 8, Wire.FIXED32: 4}
VARINT_BYTES = 10


class WireError(ValueError):
    """Bytes that are not a complete Protocol Buffers message."""


def fields(data: memoryview) -> Iterator[tuple[int, Wire, Value]]:
    """Iterate over the fields of a message: (field number, wire type, value).

    The value of a varint is an unsigned 64-bit int; of other types it is a view of `data`: 4 or 8
    little-endian bytes of a fixed type, or the contents of a BYTES field. Raises WireError at the
    first field that is broken.
    """
    position = 0
    while position < len(data):
        key, position = varint(data, position)
        number, code = key >> 3, key & 7
        if number == 0 or code not in iter(Wire):
            raise WireError(f"field {number} of wire type {code}")
        wire = Wire(code)
        if wire == Wire.VARINT:
            value, position = varint(data, position)
            yield number, wire, value
            continue
        if wire == Wire.BYTES:
            size, position = varint(data, position)
        else:
            size = FIXED_SIZES[wire]
        if size > len(data) - position:
            raise WireError(f"field {number} of {size} bytes, {len(data) - position} are left")
        yield number, wire, data[position : position + size]
        position += size


def varint(data: memoryview, position: int) -> tuple[int, int]:
    """Read an unsigned 64-bit varint; returns the number and the position after it.

    Bytes hold 7 bits each, the lowest first; negative numbers come as their two's complement.
    Raises WireError if the number does not end.
    """
    value = 0
    for place, byte in enumerate(data[position : position + VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & (1 << 64) - 1, position + place + 1
    raise WireError(f"no end of the number at byte {position}")


def packed_varints(data: memoryview) -> list[int]:
    """The numbers of a packed field. Raises WireError."""
    numbers, position = [], 0
    while position < len(data):
        number, position = varint(data, position)
        numbers.append(number)
    return numbers


def fixed(pieces: Sequence[memoryview], dtype: str) -> np.ndarray:
    """The numbers of a repeated field of a fixed type.

    Args:
        pieces: the field's values from `fields`; writers may pack numbers in one BYTES value, or
            write each number as a value of its own, or mix both.
        dtype: NumPy's type with byte order, such as "<f4".

    Returns:
        A read-only array, which is a view of the file if there is a single piece.

    Raises:
        WireError: if the last number is incomplete.

    """
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if len(data) % np.dtype(dtype).itemsize:
        raise WireError(f"{len(data)} bytes are no whole number of {dtype}")
    return np.frombuffer(data, dtype)
