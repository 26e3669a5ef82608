"""MATLAB files of version 5: numeric arrays and structs of them, such as SBD's masks.

scipy.io.loadmat is no replacement, even for files of limited size: it allocates whatever a header
claims and descends into nested cells without a limit, so that 200 KB of them crash the process.
This reader allocates what the file holds, up to a limit, and never descends more than one level.
Source: MathWorks, "MAT-File Format", level 5.
"""

import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

Value = np.ndarray | dict[str, np.ndarray | None] | None
Element = tuple[int, memoryview]  # type and content

HEADER_BYTES = 128  # of text; the last four are the version and the byte order
BYTE_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
# Types of elements.
NUMBER_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
NUMBER_TYPES |= {12: "i8", 13: "u8"}
MATRIX, COMPRESSED = 14, 15
# Classes and flags of matrices.
STRUCT_CLASS, NUMERIC_CLASSES = 2, range(6, 16)
COMPLEX_FLAG = 0x800
# Limits on hostile files.
MAX_UNPACKED_BYTES = 1 << 28
MAX_FIELDS = 1000


def read_mat(path: Path) -> dict[str, Value]:
    """Variables by name: arrays, dicts of arrays for structs of one element, None for all else.

    Arrays have the type that the file stores them as. Raises OSError for a file that cannot be
    read, and any exception for a file that is damaged or of another format.
    """
    data = memoryview(path.read_bytes())
    order = BYTE_ORDERS.get(bytes(data[HEADER_BYTES - 4 : HEADER_BYTES]))
    if order is None:
        raise ValueError("not a MATLAB file of version 5")
    return dict(_variables(data[HEADER_BYTES:], order))


def _variables(data: memoryview, order: str) -> Iterator[tuple[str, Value]]:
    for kind, content in _elements(data, order):
        if kind == COMPRESSED:
            kind, content = next(_elements(_unpack(content), order))
        if kind == MATRIX:
            yield _read_matrix(content, order)


def _unpack(content: memoryview) -> memoryview:
    stream = zlib.decompressobj()
    data = stream.decompress(content, MAX_UNPACKED_BYTES)
    if not stream.eof:
        raise ValueError(f"a variable is cut short or has more than {MAX_UNPACKED_BYTES} bytes")
    return memoryview(data)


def _elements(data: memoryview, order: str) -> Iterator[Element]:
    """Split data into elements.

    Each is a tag of 8 bytes and its content, padded to a multiple of 8 bytes unless compressed. A
    small element has a tag of 4 bytes and up to 4 bytes of content.
    """
    start = 0
    while start < len(data):
        kind, size = np.frombuffer(data[start : start + 8], f"{order}u4").tolist()
        small = kind >> 16
        if small:
            kind, size = kind & 0xFFFF, small
        begin = start + (4 if small else 8)
        if size > (4 if small else len(data) - begin):
            raise ValueError(f"an element claims {size} bytes, {len(data) - begin} are left")
        yield kind, data[begin : begin + size]
        padded = size if kind == COMPRESSED else -(-size // 8) * 8
        start += 8 if small else 8 + padded


def _read_matrix(content: memoryview, order: str, *, in_struct: bool = False) -> tuple[str, Value]:
    """Name and value of a matrix: its flags, dimensions and name, then what its class has."""
    if not content:
        return "", None
    parts = _elements(content, order)
    flags = int(_numbers(next(parts), order)[0])
    shape = _numbers(next(parts), order).tolist()
    name = bytes(next(parts)[1]).decode("latin1")
    matrix_class = flags & 0xFF
    if matrix_class == STRUCT_CLASS and math.prod(shape) == 1 and not in_struct:
        return name, _read_struct(parts, order)
    if matrix_class in NUMERIC_CLASSES and not flags & COMPLEX_FLAG:
        return name, _numbers(next(parts), order).reshape(shape, order="F")
    return name, None


def _read_struct(parts: Iterator[Element], order: str) -> dict[str, Value]:
    length = int(_numbers(next(parts), order)[0])
    text = bytes(next(parts)[1]).decode("latin1")
    names = [text[start : start + length] for start in range(0, len(text), length)]
    if len(names) > MAX_FIELDS:
        raise ValueError(f"a struct of {len(names)} fields")
    fields = (_read_matrix(next(parts)[1], order, in_struct=True) for _ in names)
    return {name.rstrip("\0"): value for name, (_, value) in zip(names, fields, strict=True)}


def _numbers(element: Element, order: str) -> np.ndarray:
    kind, content = element
    return np.frombuffer(content, f"{order}{NUMBER_TYPES[kind]}")
