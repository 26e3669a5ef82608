"""Protocol Buffers' wire format, read without the schema's compiler and without copies.

A message is a row of fields: a key (field number and wire type, one varint) and a value. Which
number means what is the reader's business; this module knows only how the bytes are cut.
Source: Protocol Buffers documentation, "Encoding".
"""

from collections.abc import Iterator, Sequence
from enum import IntEnum

import numpy as np

Value = int | memoryview


class Wire(IntEnum):
    """How a field's value is written; the two types of groups are long out of use."""

    VARINT = 0
    FIXED64 = 1
    BYTES = 2  # text, a message of its own, packed numbers
    FIXED32 = 5


FIXED_SIZES = {Wire.FIXED64: 8, Wire.FIXED32: 4}
VARINT_BYTES = 10


class WireError(ValueError):
    """Bytes that are no Protocol Buffers message, or not all of one."""


def fields(data: memoryview) -> Iterator[tuple[int, Wire, Value]]:
    """Cut a message into (field number, wire type, value), in the order of the file.

    A varint is an unsigned 64-bit int, all else a view of `data`: 4 or 8 little-endian bytes of a
    fixed type, or the contents of a BYTES field. Raises WireError where the message breaks; what
    came before is given first.
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
    """Read an unsigned 64-bit int of 7 bits a byte, least first → (int, position after it).

    A negative number is its two's complement, so it comes as 2⁶³ or more. Raises WireError.
    """
    value = 0
    for place, byte in enumerate(data[position : position + VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & (1 << 64) - 1, position + place + 1
    raise WireError(f"no end of the number at byte {position}")


def packed_varints(data: memoryview) -> list[int]:
    """Numbers of a packed field, which stand end to end. Raises WireError."""
    numbers, position = [], 0
    while position < len(data):
        number, position = varint(data, position)
        numbers.append(number)
    return numbers


def fixed(pieces: Sequence[memoryview], dtype: str) -> np.ndarray:
    """Numbers of a repeated field of a fixed type, from the values that `fields` gave for it.

    Writers pack them in one BYTES value or give each a value of its own; both may be mixed.
    `dtype` is NumPy's, with its byte order ("<f4"). The array is read-only, and a view of the
    file if there is a single piece. Raises WireError if the last number is cut.
    """
    data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
    if len(data) % np.dtype(dtype).itemsize:
        raise WireError(f"{len(data)} bytes are no whole number of {dtype}")
    return np.frombuffer(data, dtype)
