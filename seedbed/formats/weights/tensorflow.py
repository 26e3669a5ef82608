"""Reads TensorFlow's checkpoints without TensorFlow.

Version 1 is one table file: a list of the variables, then their slices. Version 2 (`tf.train` since
2017 and TensorFlow 2) is a table `NAME.index` and data files `NAME.data-00000-of-00001` and so on.
Sources: TensorFlow's saved_tensor_slice.proto, tensor_bundle.proto, tensor.proto, types.proto.
"""

import functools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seedbed.formats.weights.protobuf import Value, fields, fixed, packed_varints
from seedbed.formats.weights.reading import MAX_AXES, by_name, cut, reader, view
from seedbed.formats.weights.sstable import masked_crc32c, read_table
from seedbed.runtime.errors import UserError

Message = dict[int, list[Value]]
Extents = list[tuple[int, int]]  # start and length of a slice per dimension; (0, ALL) is all
ALL = -1
NEGATIVE_ONE = (1 << 64) - 1  # −1 as an unsigned varint
SLICE_KEY = b"\0"  # prefix of keys of slices in version 2; a variable's key is its name
V2_FILE = re.compile(r"(.+)\.(?:index|data-\d{5}-of-\d{5})")


class Type(NamedTuple):
    """A type of numbers: PyTorch's, NumPy's of the stored bytes, its field in TensorProto."""

    torch: torch.dtype
    stored: str
    field: int


TYPES = {
    1: Type(torch.float32, "<f4", 5),
    2: Type(torch.float64, "<f8", 6),
    3: Type(torch.int32, "<i4", 7),
    4: Type(torch.uint8, "u1", 7),
    5: Type(torch.int16, "<i2", 7),
    6: Type(torch.int8, "i1", 7),
    9: Type(torch.int64, "<i8", 10),
    10: Type(torch.bool, "u1", 11),
    14: Type(torch.bfloat16, "<i2", 13),
    19: Type(torch.float16, "<i2", 13),
}
FIXED_FIELDS = (5, 6)  # the others are varints
CONTENT_FIELD = 4
MAX_USES = 8  # of a data file's bytes; entries that share them could fill memory with copies


class Variable(NamedTuple):
    """A variable's type, shape and slices: the extents of each and its numbers in C order."""

    type: Type
    shape: tuple[int, ...]
    slices: list[tuple[Extents, np.ndarray]]


@reader("TensorFlow checkpoint")
def read_tensorflow(path: Path) -> dict[str, Tensor]:
    """Read all variables of a checkpoint, also optimiser slots and step counters.

    Partitioned variables are joined. Strings, complex and quantised numbers are left out. The
    checksums of everything that is read are verified.

    Args:
        path: a version 1 file, or the prefix, the index or a data file of version 2.

    Returns:
        Contiguous tensors on the CPU by name, with TensorFlow's axes; floating types are converted
        to float32, integers and booleans are kept.

    Raises:
        UserError: if the file is missing, damaged, cut short, of another format or without numbers.

    """
    index = _index_of(path)
    variables = _version1(path) if index is None else _version2(index)
    return {name: _assemble(variable) for name, variable in variables.items()}


def _index_of(path: Path) -> Path | None:
    """The index file of a version 2 checkpoint; None for a version 1 file."""
    if match := V2_FILE.fullmatch(path.name):
        return _beside(path, f"{match[1]}.index")
    index = path.with_name(f"{path.name}.index")
    return index if index.is_file() and not path.is_file() else None


def _beside(path: Path, name: str) -> Path:
    other = path.with_name(name)
    if path.exists() and not other.exists():
        raise UserError(f"weights {path} need {name} beside them; fetch it too")
    return other


def _version1(path: Path) -> dict[str, Variable]:
    # SavedTensorSlices: meta 1, in the first entry, of it tensor 1 (name 1, shape 2, type 3);
    # in the others data 2 (name 1, slice 2, data 3).
    entries = read_table(view(path))
    key, value = next(entries, (None, memoryview(b"")))
    if key != b"":
        raise ValueError("no list of variables at its beginning")
    metas = map(_message, _views(_message(_view(_message(value), 1)), 1))
    variables = by_name(
        (_text(meta, 1), Variable(dtype, _shape(_view(meta, 2)), []))
        for meta in metas
        if (dtype := TYPES.get(_number(meta, 3)))
    )
    for _, value in entries:
        saved = _message(_view(_message(value), 2))
        if variable := variables.get(_text(saved, 1)):
            numbers = _numbers(_message(_view(saved, 3)), variable.type)
            variable.slices.append((_extents(_view(saved, 2)), numbers))
    return variables


def _version2(index: Path) -> dict[str, Variable]:
    # BundleHeaderProto: num_shards 1, endianness 2. BundleEntryProto: dtype 1, shape 2, shard_id 3,
    # offset 4, size 5, crc32c 6, slices 7.
    entries = by_name((key, _message(value)) for key, value in read_table(view(index)))
    header = entries.pop(b"", None)
    if header is None:
        raise ValueError("no header at its beginning")
    if _number(header, 2):
        raise ValueError("written by a big-endian machine")
    prefix, count = index.name.removesuffix(".index"), _number(header, 1)

    @functools.cache
    def shard(number: int) -> memoryview:
        return view(_beside(index, f"{prefix}.data-{number:05}-of-{count:05}"))

    used: Counter[int] = Counter()

    def stored(entry: Message, dtype: Type) -> np.ndarray:
        number = _number(entry, 3)
        used[number] += _number(entry, 5)
        if used[number] > MAX_USES * len(shard(number)):
            raise ValueError("many tensors share the bytes of a data file")
        return _stored(entry, dtype, shard(number))

    variables = {}
    for key, entry in entries.items():
        dtype = TYPES.get(_number(entry, 1))
        if dtype is None or key.startswith(SLICE_KEY):
            continue
        shape = _shape(_view(entry, 2))
        parts = {_slice_key(key, part): part for part in map(_extents, _views(entry, 7))}
        if not parts:
            parts = {key: [(0, ALL)] * len(shape)}
        name = str(key, "utf-8")
        if not parts.keys() <= entries.keys():
            raise ValueError(f"slices of {name} are missing")
        slices = [(part, stored(entries[own], dtype)) for own, part in parts.items()]
        variables[name] = Variable(dtype, shape, slices)
    return variables


def _slice_key(key: bytes, extents: Extents) -> bytes:
    """The key of the entry of a slice of a partitioned variable.

    Keys sort like tuples (0, name, rank, start, length, …); source: TensorFlow's ordered_code.cc.
    """
    numbers = b"".join(_ordered(number) for extent in extents for number in extent)
    return SLICE_KEY + key + b"\0\1" + bytes([1, len(extents)]) + numbers


def _ordered(number: int) -> bytes:
    """Encode a signed number so that bytes sort like numbers.

    The number of leading ones is the number of bytes, and each byte adds 7 bits.
    """
    size = (number if number >= 0 else ~number).bit_length() // 7 + 1
    ones = (1 << size) - 1 << 7 * size
    return ((number ^ ones) & (1 << 8 * size) - 1).to_bytes(size, "big")


def _stored(entry: Message, dtype: Type, shard: memoryview) -> np.ndarray:
    data = cut(shard, _number(entry, 4), _number(entry, 5))
    if masked_crc32c(data) != int.from_bytes(_view(entry, 6), "little"):
        raise ValueError(f"wrong checksum of the tensor at {_number(entry, 4)} of its data file")
    return fixed([data], dtype.stored)


def _assemble(variable: Variable) -> Tensor:
    dtype, shape, slices = variable
    # Checked before memory is allocated: the shape may claim more than the file holds.
    if sum(numbers.size for _, numbers in slices) != math.prod(shape):
        raise ValueError(f"another count of numbers than a variable of shape {shape} has")
    whole, filled = np.empty(shape, dtype.stored), np.zeros(shape, bool)
    for extents, numbers in slices:
        box = _box(extents, shape)
        whole[box] = numbers.reshape(whole[box].shape)
        filled[box] = True
    if not filled.all():
        raise ValueError(f"slices that overlap, of a variable of shape {shape}")
    tensor = torch.from_numpy(whole).view(dtype.torch)
    return tensor.float() if tensor.is_floating_point() else tensor


def _box(extents: Extents, shape: Sequence[int]) -> tuple[slice, ...]:
    if len(extents) != len(shape):
        raise ValueError(f"a slice of {len(extents)} dimensions, of a variable of {len(shape)}")
    stops = [
        size if length == ALL else start + length
        for (start, length), size in zip(extents, shape, strict=True)
    ]
    if any(stop > size for stop, size in zip(stops, shape, strict=True)):
        raise ValueError(f"a slice beyond the shape {tuple(shape)} of its variable")
    return tuple(slice(start, stop) for (start, _), stop in zip(extents, stops, strict=True))


def _message(data: memoryview) -> Message:
    message: Message = defaultdict(list)
    for number, _, value in fields(data):
        message[number].append(value)
    return message


def _views(message: Message, field: int) -> list[memoryview]:
    values = message.get(field, [])
    if not all(isinstance(value, memoryview) for value in values):
        raise ValueError(f"a number in field {field}")
    return values


def _view(message: Message, field: int) -> memoryview:
    """The last value of a field, as Protocol Buffers specify, or an empty one."""
    return (_views(message, field) or [memoryview(b"")])[-1]


def _number(message: Message, field: int, default: int = 0) -> int:
    number = message.get(field, [default])[-1]
    if not isinstance(number, int):
        raise ValueError(f"no number in field {field}")
    return number


def _text(message: Message, field: int) -> str:
    return str(_view(message, field), "utf-8")


def _shape(data: memoryview) -> tuple[int, ...]:
    shape = tuple(_number(_message(dim), 1) for dim in _views(_message(data), 2))
    if len(shape) > MAX_AXES:
        raise ValueError(f"a variable of {len(shape)} dimensions")
    return shape


def _extents(data: memoryview) -> Extents:
    extents = [_message(extent) for extent in _views(_message(data), 1)]
    pairs = [(_number(extent, 1), _number(extent, 2, NEGATIVE_ONE)) for extent in extents]
    return [(start, ALL if length == NEGATIVE_ONE else length) for start, length in pairs]


def _numbers(proto: Message, dtype: Type) -> np.ndarray:
    """The values of a TensorProto, flat, in NumPy's type of the stored bytes."""
    if CONTENT_FIELD in proto:
        return fixed([_view(proto, CONTENT_FIELD)], dtype.stored)
    if dtype.field in FIXED_FIELDS:
        return fixed(_views(proto, dtype.field), dtype.stored)
    varints = [n for piece in _views(proto, dtype.field) for n in packed_varints(piece)]
    return np.array(varints, np.uint64).astype(dtype.stored)
