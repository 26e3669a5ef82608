"""What the stages hand to each other of many images: HDF5 files of maps, and shards of them."""

import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

Item = TypeVar("Item")
OPEN_FILES = 32  # of one Maps: each takes half a megabyte, and a process may often have 1024 in all
# What h5py raises for a damaged file.
HDF5_FAILURES = (OSError, KeyError, RuntimeError, ValueError, TypeError)
DEFLATION = 1032  # deflate shrinks nothing further (RFC 1951: 258 bytes in two bits)


class _Sink(io.FileIO):
    """The file under an HDF5 file. HDF5 loses errors and crashes later: they are kept here."""

    failure: OSError | None = None

    def write(self, data: memoryview) -> int:
        """Write all of the data; after a failure, nothing."""
        rest = memoryview(data)
        try:
            while rest and self.failure is None:
                rest = rest[super().write(rest) :]
        except OSError as failure:
            self.failure = failure
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Set the file's size; after a failure, do nothing."""
        try:
            return super().truncate(size) if self.failure is None else 0
        except OSError as failure:
            self.failure = failure
            return 0

    def check(self) -> None:
        """Raise the first failure."""
        if self.failure is not None:
            raise self.failure


class MapWriter:
    """Puts arrays into an open HDF5 file, one dataset an image."""

    def __init__(self, file: h5py.File, sink: _Sink) -> None:
        self._file = file
        self._sink = sink

    def put(self, image_id: str, array: np.ndarray, **attributes: object) -> None:
        """Store an array of any shape under an id (unicode without '/'), each id once."""
        if not image_id or image_id == "." or "/" in image_id:
            raise ValueError(f"image_id: {image_id!r} cannot name a dataset")
        # One chunk: a map is always read whole. An empty array cannot be chunked.
        filters = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        options = {"chunks": array.shape, **filters} if array.size and array.ndim else {}
        dataset = self._file.create_dataset(image_id, data=array, **options)
        dataset.attrs.update(attributes)
        self._sink.check()

    def mark(self, image_id: str, **attributes: object) -> None:
        """Add attributes to a map that was put before: what only all maps together tell."""
        self._file[image_id].attrs.update(attributes)
        self._sink.check()


@contextmanager
def write_maps(path: Path, **attributes: object) -> Iterator[MapWriter]:
    """Write an HDF5 map file; the same puts in the same order give the same bytes.

    `attributes` (numbers, strings, lists of them) are the file's and hold for every map.
    """
    with atomic(path) as temporary, _Sink(temporary, "w+") as sink:
        with h5py.File(sink, "w") as file:
            file.attrs.update(attributes)
            yield MapWriter(file, sink)
        sink.check()


class Maps(Mapping[str, np.ndarray]):
    """The arrays of one or several HDF5 map files by image id, read as they are asked for.

    Iterates file by file in the order given, inside a file by id. Opened by each process for
    itself, so one object serves forked and spawned workers; of many files, those not asked for
    longest are closed again. Raises UserError for a file that cannot be read, an id that is
    missing or stands in two files, and links out of the file.
    """

    def __init__(self, paths: Path | str | Sequence[Path | str]) -> None:
        one = isinstance(paths, str | Path)
        self._paths = [Path(path) for path in ([paths] if one else paths)]
        self._holder: dict[str, Path] | None = None  # of each id; found when first asked for
        self._files: dict[Path, h5py.File] = {}  # those open, the last one used at the end
        self._pid = -1

    def __reduce__(self) -> tuple:
        return type(self), (self._paths,)

    def __enter__(self) -> "Maps":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; they open again when needed."""
        if self._pid == os.getpid():
            for file in self._files.values():
                file.close()
        self._files, self._pid = {}, -1

    def _by_id(self) -> dict[str, Path]:
        """Give the path of the file that holds each id."""
        if self._holder is None:
            holder: dict[str, Path] = {}
            for path in self._paths:
                for image_id in _ids(self._file(path)):
                    if image_id in holder:
                        other = holder[image_id]
                        raise UserError(f"{image_id} is in {other} and in {path}: remake them")
                    holder[image_id] = path
            self._holder = holder
        return self._holder

    def _file(self, path: Path) -> h5py.File:
        """Give a file, opened by this process."""
        if self._pid != os.getpid():
            self._files, self._pid = {}, os.getpid()
        file = self._files.pop(path, None) or _open_maps(path)
        if len(self._files) >= OPEN_FILES:
            self._files.pop(next(iter(self._files))).close()
        self._files[path] = file
        return file

    def _dataset(self, image_id: str) -> h5py.Dataset:
        if image_id not in self:
            raise UserError(f"{image_id} is not in {self._named()}: remake it")
        file = self._file(self._by_id()[image_id])
        if not isinstance(file.get(image_id, getlink=True), h5py.HardLink):
            raise UserError(f"{image_id} in {file.filename} is a link, not a map: remake it")
        try:
            dataset = file[image_id]
        except HDF5_FAILURES as error:
            raise UserError(f"cannot read {image_id} in {file.filename}: remake it") from error
        if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
            raise UserError(f"{image_id} in {file.filename} is not a plain map: remake it")
        return dataset

    def _named(self) -> str:
        return ", ".join(map(str, self._paths)) or "no file at all"

    def __getitem__(self, image_id: str) -> np.ndarray:
        dataset = self._dataset(image_id)
        try:
            if dataset.nbytes > DEFLATION * dataset.id.get_storage_size():
                raise ValueError(f"it claims {dataset.nbytes} bytes")
            return np.asarray(dataset[()])
        except HDF5_FAILURES as error:
            name = dataset.file.filename
            raise UserError(f"cannot read {image_id} in {name}: {error}; remake it") from error

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._by_id()

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id())

    def __len__(self) -> int:
        return len(self._by_id())

    def get(self, image_id: str, default: Any = None) -> Any:  # noqa: ANN401 - as Mapping.get
        """Give the map, or `default` where there is none."""
        if image_id not in self:
            return default
        return self[image_id]

    def attributes(self, image_id: str) -> dict[str, Any]:
        """Give the attributes of an image's file, overlaid by its dataset's."""
        dataset = self._dataset(image_id)
        return _attributes(dataset.file) | _attributes(dataset)

    def file_attributes(self) -> dict[str, Any]:
        """Give the attributes of the first file, those that hold for all of its maps."""
        with _open_maps(self._paths[0]) as file:
            return _attributes(file)

    def floats(self, image_id: str) -> np.ndarray:
        """Give a map as float32: uint8 divided by its attribute `levels` (255 if it has none)."""
        array = self[image_id]
        scaled = array.dtype == np.uint8
        levels = self.attributes(image_id).get("levels", 255) if scaled else 1
        if array.dtype.kind not in "biuf" or not isinstance(levels, int | float):
            raise UserError(f"{image_id} in {self._named()} holds no numbers: remake it")
        return array / np.float32(levels) if scaled else array.astype(np.float32)


def _ids(file: h5py.File) -> list[str]:
    try:
        return list(file)
    except HDF5_FAILURES as error:
        raise UserError(f"cannot read the maps {file.filename}: {error}; remake it") from error


def _attributes(holder: h5py.File | h5py.Dataset) -> dict[str, Any]:
    """Give the attributes of a file or dataset as plain values."""
    try:
        found = dict(holder.attrs)
    except HDF5_FAILURES as error:
        name = holder.file.filename
        raise UserError(f"cannot read the attributes in {name}: {error}; remake it") from error
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in found.items()}


def _open_maps(path: Path) -> h5py.File:
    try:
        # Files appear by renaming and never change: a lock would only fail on network disks.
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise UserError(f"cannot read the maps {path}: {error}; remake it") from error


def quantise(fractions: np.ndarray) -> np.ndarray:
    """Turn floats in [0, 1] into uint8: round(255 x)."""
    return np.rint(np.asarray(fractions) * 255).astype(np.uint8)


def shard_of(items: Sequence[Item], shard: str) -> list[Item]:
    """Give every n-th item beginning with the k-th, for a shard "k-of-n", k from 1."""
    match = re.fullmatch(r"([0-9]+)-of-([0-9]+)", shard)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise UserError(f"shard {shard!r} is none: write it as 3-of-16, from 1-of-16 to 16-of-16")
    return list(items[number - 1 :: count])
