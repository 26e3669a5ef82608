"""MATLAB's files of version 5: arrays of numbers and structs of them, as SBD's masks are.

A reader of everything that such files may hold sets memory aside for whatever they claim; this one
has what it gives, and skips the rest.
Source: MathWorks, "MAT-File Format", level 5.
"""

import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

Value = np.ndarray | dict[str, np.ndarray | None] | None
HEADER = 128  # bytes of text; the last four are the version and the order of bytes
ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
# Types of elements.
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8"}
NUMBERS |= {13: "u8"}
MATRIX, COMPRESSED = 14, 15
MOST_UNPACKED = 1 << 28  # bytes; a few kilobytes can unpack to any number of them
# Classes of matrices.
STRUCT, NUMERIC = 2, range(6, 16)
COMPLEX = 0x800
MOST_FIELDS = 1000

Element = tuple[int, memoryview]


def read_mat(path: Path) -> dict[str, Value]:
    """Variables by name: arrays, dicts of arrays for structs of one element, None for all else.

    Arrays are of the type that they are stored as. Raises OSError for a file that cannot be read,
    and whatever a file that is damaged, or no such file, causes.
    """
    data = memoryview(path.read_bytes())
    order = ORDERS.get(bytes(data[HEADER - 4 : HEADER]))
    if order is None:
        raise ValueError("it is no MATLAB file of version 5")
    return dict(_matrices(data[HEADER:], order))


def _matrices(data: memoryview, order: str) -> Iterator[tuple[str, Value]]:
    for kind, content in _elements(data, order):
        if kind == COMPRESSED:
            kind, content = next(_elements(_unpacked(content), order))
        if kind == MATRIX:
            yield _matrix(content, order)


def _unpacked(content: memoryview) -> memoryview:
    stream = zlib.decompressobj()
    data = stream.decompress(content, MOST_UNPACKED)
    if not stream.eof:
        raise ValueError(f"a variable is cut short, or of more than {MOST_UNPACKED} bytes")
    return memoryview(data)


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    """Cut into elements: a tag, and bytes up to the next multiple of 8, or 4 bytes in the tag."""
    place = 0
    while place < len(data):
        kind, size = np.frombuffer(data[place : place + 8], f"{order}u4").tolist()
        small = kind >> 16
        if small:
            kind, size = kind & 0xFFFF, small
        begin = place + (4 if small else 8)
        if size > (4 if small else len(data) - begin):
            raise ValueError(f"an element of {size} bytes, {len(data) - begin} are left")
        yield kind, data[begin : begin + size]
        padded = size if kind == COMPRESSED else -(-size // 8) * 8
        place += 8 if small else 8 + padded


def _matrix(content: memoryview, order: str, *, within: bool = False) -> tuple[str, Value]:
    """Read a matrix: flags, sizes of its axes, name, and what its class has."""
    if not content:
        return "", None
    parts = _elements(content, order)
    flags = int(_numbers(next(parts), order)[0])
    shape = _numbers(next(parts), order).tolist()
    name = bytes(next(parts)[1]).decode("latin1")
    if flags & 0xFF == STRUCT and math.prod(shape) == 1 and not within:
        return name, _struct(parts, order)
    if flags & 0xFF in NUMERIC and not flags & COMPLEX:
        return name, _numbers(next(parts), order).reshape(shape, order="F")
    return name, None


def _struct(parts: Iterator[Element], order: str) -> dict[str, Value]:
    length = int(_numbers(next(parts), order)[0])
    text = bytes(next(parts)[1]).decode("latin1")
    names = [text[place : place + length] for place in range(0, len(text), length)]
    if len(names) > MOST_FIELDS:
        raise ValueError(f"a struct of {len(names)} fields")
    fields = (_matrix(next(parts)[1], order, within=True) for _ in names)
    return {name.rstrip("\0"): value for name, (_, value) in zip(names, fields, strict=True)}


def _numbers(element: Element, order: str) -> np.ndarray:
    kind, content = element
    return np.frombuffer(content, f"{order}{NUMBERS[kind]}")
