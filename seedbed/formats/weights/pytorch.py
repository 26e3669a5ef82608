"""Reads both formats of torch.save without torch.load.

Even with weights_only, a short malicious file can make torch.load hang or fill memory. A file holds
a pickle and the storages, flat arrays that tensors are views of: as members of a zip archive, or
before PyTorch 1.6 one after the other behind the pickle.
Source: PyTorch, torch/serialization.py and torch/_utils.py.
"""

import math
import os
import pickle
import zipfile
from collections.abc import Callable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seedbed.formats.pickles.names import NAMES, StandIn, Tuple
from seedbed.formats.pickles.unpickler import Opcodes, Unpickler
from seedbed.formats.weights.reading import MAX_AXES, cut

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
ZIP = b"PK\3\4"
SHARED = 1 << 30  # bytes of tensors beyond the file's size: tensors may share a storage
LOCAL_HEADER = 30  # bytes before a member's name; ends with the lengths of name and extra field


class OtherArchiveError(ValueError):
    """A zip archive that torch.save did not write; says what it holds."""


class Type(NamedTuple):
    """A type of numbers: PyTorch's, and NumPy's of the stored bytes."""

    torch: torch.dtype
    stored: str


STORAGES = {
    "torch.FloatStorage": Type(torch.float32, "<f4"),
    "torch.DoubleStorage": Type(torch.float64, "<f8"),
    "torch.HalfStorage": Type(torch.float16, "<f2"),
    "torch.BFloat16Storage": Type(torch.bfloat16, "<i2"),
    "torch.LongStorage": Type(torch.int64, "<i8"),
    "torch.IntStorage": Type(torch.int32, "<i4"),
    "torch.ShortStorage": Type(torch.int16, "<i2"),
    "torch.CharStorage": Type(torch.int8, "i1"),
    "torch.ByteStorage": Type(torch.uint8, "u1"),
    "torch.BoolStorage": Type(torch.bool, "?"),
}


class _Storage(NamedTuple):
    """A storage: the type of its numbers, its key or its bytes, and its number of elements."""

    type: Type
    key: str | memoryview
    size: int


class _View(StandIn):
    """Stands in for a tensor, a strided view of a storage."""

    def __init__(
        self, storage: _Storage, offset: int, shape: Tuple, strides: Tuple, *_: object
    ) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def plain(self, unpickler: "_TorchUnpickler") -> Tensor:
        """The tensor, a copy."""
        (kind, key, size), shape, strides = self.storage, self.shape, self.strides
        numbers = (self.offset, *shape, *strides)
        if len(shape) != len(strides) or len(shape) > MAX_AXES or min(numbers) < 0:
            raise ValueError(f"a tensor of shape {tuple(shape)} and strides {tuple(strides)}")
        item = np.dtype(kind.stored).itemsize
        unpickler.spend_on_tensors(math.prod(shape) * item)
        steps = sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
        last = self.offset + steps if math.prod(shape) else -1
        if last >= size:
            raise ValueError(f"a tensor that ends at {last}, in a storage of {size} numbers")
        flat = np.frombuffer(cut(unpickler.storage(key), 0, size * item), kind.stored)
        strided = np.lib.stride_tricks.as_strided(
            flat[self.offset :], shape, [stride * item for stride in strides], writeable=False
        )
        return torch.from_numpy(strided.copy()).view(kind.torch)


class Skipped:
    """Stands in for a type or function that is not read, and for the objects that it makes.

    Nothing of an object is kept but the name of its type, and whether it is a PyTorch module.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_module = name.startswith("__torch__.")  # TorchScript's modules

    def __call__(self, *_: object) -> "Skipped":
        """Stand in for the object that a call would make."""
        return Skipped(self.name)

    def set_state(self, state: object) -> None:
        """Look at the state, and drop it."""
        self.is_module |= isinstance(state, dict) and "_modules" in state

    def __setitem__(self, key: object, value: object) -> None:
        """Drop an item of a dict's subclass."""

    def append(self, item: object) -> None:
        """Drop an item of a list's subclass."""

    extend = append


def _parameter(data: object, *_: object) -> object:
    return data


def _defaultdict(*_: object) -> dict:
    return {}


class _TorchUnpickler(Unpickler):
    """Also accepts PyTorch's names; `storage` must return the bytes of a storage by its key.

    Objects of other types, which programs save beside the weights, are skipped, but for tensors of
    kinds that are not read.
    """

    names = {  # noqa: RUF012 - never changed
        **NAMES,
        **STORAGES,
        "torch._utils._rebuild_tensor": _View,
        "torch._utils._rebuild_tensor_v2": _View,
        "torch._utils._rebuild_parameter": _parameter,
        "torch.Size": Tuple,
        "collections.defaultdict": _defaultdict,
    }
    dispatch = Opcodes(Unpickler.dispatch)
    storage: Callable[[str], memoryview]

    def __init__(self, file: mmap) -> None:
        super().__init__(file)
        self.types: dict[str, Type] = {}
        self._tensors_left = len(file) + SHARED

    def spend_on_tensors(self, size: int) -> None:
        """Count the bytes of a tensor."""
        self._tensors_left -= size
        if self._tensors_left < 0:
            raise pickle.UnpicklingError("tensors of much more than the file holds")

    def persistent_load(self, pid: Any) -> _Storage:  # noqa: ANN401 - as its parent
        """Read a storage: (word, type, key, device, size), and a view in old files."""
        if pid[0] == "module":  # a module's class with its source code, before PyTorch 1.1
            return pid[1]
        word, kind, key, _, size, *view = pid
        valid = word == "storage" and isinstance(kind, Type) and isinstance(key, str)
        if not valid or not isinstance(size, int) or any(view):
            raise pickle.UnpicklingError(f"a storage {word}")
        self.types[key] = kind
        return _Storage(kind, key, size)

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as its parent
        """Look up a name; most unknown ones give objects that are skipped."""
        try:
            return super().find_class(module, name)
        except pickle.UnpicklingError:
            if module.startswith("torch.") and name.startswith("_rebuild"):
                raise
            return Skipped(f"{module}.{name}")

    def _load_newobj(self) -> None:
        self.stack.pop()  # arguments
        name = self.stack.pop()
        if not isinstance(name, Skipped):
            raise pickle.UnpicklingError(f"an object of {name}")
        self.append(name())

    def _load_newobj_ex(self) -> None:
        self.stack.pop()  # keyword arguments
        self._load_newobj()

    def _load_build(self) -> None:
        if isinstance(self.stack[-2], Skipped):
            self.stack[-2].set_state(self.stack.pop())
        else:
            Unpickler.dispatch[pickle.BUILD[0]](self)

    dispatch[pickle.NEWOBJ[0]] = _load_newobj
    dispatch[pickle.NEWOBJ_EX[0]] = _load_newobj_ex
    dispatch[pickle.BUILD[0]] = _load_build


class TensorPickle(_TorchUnpickler):
    """Reads a plain pickle in which tensors are, each with its storage as a file of torch.save."""

    def __init__(self, file: mmap) -> None:
        super().__init__(file)
        self.names = {**self.names, "torch.storage._load_from_bytes": _saved_storage}
        self.storage = lambda data: data


def _saved_storage(data: bytes | str) -> _Storage:
    """The storage in a legacy file of torch.save, given as bytes or as Python 2's text."""
    data = data.encode("latin1") if isinstance(data, str) else data
    file = mmap(-1, len(data))
    file.write(data)
    file.seek(0)
    content, unpickler = _legacy(file)
    if not isinstance(content, _Storage):
        raise pickle.UnpicklingError("a file of torch.save that is no storage")
    return content._replace(key=unpickler.storage(content.key))


def read_pytorch(path: Path) -> object:
    """Read a file written by torch.save: tensors (on the CPU), numbers, text and containers.

    Nothing in the file is executed. Raises OSError if it cannot be opened; a file that is damaged
    or has other types raises exceptions of any type.
    """
    with path.open("rb") as file:
        data = mmap(file.fileno(), 0, access=ACCESS_READ)
    return _read_archive(data) if data[:4] == ZIP else _read_legacy(data)


def _read_archive(data: mmap) -> object:
    with zipfile.ZipFile(data) as archive:
        members = {member.filename: member for member in archive.infolist()}
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if not pickles and members:
        raise OtherArchiveError(f"a zip archive of other files ({next(iter(members))[:60]!r}, …)")
    (name,) = pickles
    folder = name.removesuffix("data.pkl")
    if f"{folder}byteorder" in members:
        order = _stored(data, members[f"{folder}byteorder"])
        if order != b"little":
            raise ValueError("numbers of a big-endian machine")
    start = _place(data, members[name])
    data.seek(start)
    unpickler = _TorchUnpickler(data)
    unpickler.storage = lambda key: _stored(data, members[f"{folder}data/{key}"])
    return unpickler.read_plain()


def _place(data: mmap, member: zipfile.ZipInfo) -> int:
    """The position of a member's first byte."""
    header = cut(memoryview(data), member.header_offset, LOCAL_HEADER)
    lengths = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    return member.header_offset + LOCAL_HEADER + lengths


def _stored(data: mmap, member: zipfile.ZipInfo) -> memoryview:
    """A view of a member's bytes."""
    if member.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member.filename} is compressed")
    return cut(memoryview(data), _place(data, member), member.file_size)


def _read_legacy(data: mmap) -> object:
    content, unpickler = _legacy(data)
    return unpickler.plain(content)


def _legacy(data: mmap) -> tuple[object, _TorchUnpickler]:
    """The content of a legacy file, not yet made plain, and what makes it so."""
    if Unpickler(data).load() != MAGIC or Unpickler(data).load() != PROTOCOL:
        raise ValueError("no file of torch.save")
    if not Unpickler(data).load()["little_endian"]:
        raise ValueError("numbers of a big-endian machine")
    unpickler = _TorchUnpickler(data)
    content = unpickler.load()
    places = {}
    for key in Unpickler(data).load():
        size = (
            int.from_bytes(data.read(8), "little") * np.dtype(unpickler.types[key].stored).itemsize
        )
        places[key] = data.tell(), size
        data.seek(size, os.SEEK_CUR)
    unpickler.storage = lambda key: cut(memoryview(data), *places[key])
    return content, unpickler
