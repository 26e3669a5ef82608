"""HDF5 map files: arrays of many images, by image id."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from seedbed.formats.hdf5_sink import Hdf5Sink
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

MAX_OPEN_FILES = 32  # of one Maps: each takes 0.5 MB, and a process may have 1024 files open
# What h5py raises for a damaged file.
HDF5_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError)
MAX_COMPRESSION = 1032  # of deflate (RFC 1951: 258 bytes in two bits)
NO_IDS = np.zeros(0, dtype=np.int64)
LOG_PROBABILITIES = "log_probabilities"  # attribute `values` of a file that holds nothing else


class MapWriter:
    """Adds arrays to an open HDF5 file, one dataset per image."""

    def __init__(self, file: h5py.File, sink: Hdf5Sink) -> None:
        self._file = file
        self._sink = sink

    def put(self, image_id: str, array: np.ndarray, **attributes: object) -> None:
        """Store an array of any shape under an image id (any text without "/"), each id once."""
        if not image_id or image_id == "." or "/" in image_id:
            raise ValueError(f"image_id: {image_id!r} cannot name a dataset")
        # One chunk, because a map is always read whole. An empty array cannot be chunked.
        filters = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        options = {"chunks": array.shape, **filters} if array.size and array.ndim else {}
        dataset = self._file.create_dataset(image_id, data=array, **options)
        # An empty list of class ids would become an array of floats.
        dataset.attrs.update(
            {k: NO_IDS if isinstance(v, list) and not v else v for k, v in attributes.items()}
        )
        self._sink.check()

    def mark(self, image_id: str, **attributes: object) -> None:
        """Add attributes to a map that was stored before."""
        self._file[image_id].attrs.update(attributes)
        self._sink.check()


@contextmanager
def write_maps(path: Path, **attributes: object) -> Iterator[MapWriter]:
    """Write an HDF5 map file; the same arrays in the same order give the same bytes.

    Args:
        path: the file; it appears under this name when the context ends without an error.
        attributes: attributes that apply to all maps: numbers, strings or lists of them.

    """
    with atomic(path) as temporary, Hdf5Sink(temporary, "w+") as sink:
        with h5py.File(sink, "w") as file:
            file.attrs.update(attributes)
            yield MapWriter(file, sink)
        sink.check()


class Maps(Mapping[str, np.ndarray]):
    """The arrays of one or several HDF5 map files by image id, read on access.

    Iteration goes through the files in the given order, and through a file by id. Each process
    opens the files itself, so that an object can be passed to forked and spawned workers; the
    least recently used files are closed again.

    Raises:
        UserError: if a file cannot be read, an id is missing or in two files, or a dataset is a
            link to another file.

    """

    def __init__(self, paths: Path | str | Sequence[Path | str]) -> None:
        single = isinstance(paths, str | Path)
        self._paths = [Path(path) for path in ([paths] if single else paths)]
        self._path_by_id: dict[str, Path] | None = None  # filled on first access
        self._files: dict[Path, h5py.File] = {}  # open files, the most recently used one last
        self._pid = -1  # of the process that opened them

    def __reduce__(self) -> tuple:
        return type(self), (self._paths,)

    def __enter__(self) -> "Maps":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the files; they are opened again on the next access."""
        if self._pid == os.getpid():
            for file in self._files.values():
                file.close()
        self._files, self._pid = {}, -1

    def _by_id(self) -> dict[str, Path]:
        """The path of the file that each image id is in."""
        if self._path_by_id is None:
            paths: dict[str, Path] = {}
            for path in self._paths:
                for image_id in _ids(self._file(path)):
                    if image_id in paths:
                        other = paths[image_id]
                        raise UserError(f"{image_id} is in {other} and in {path}: remake them")
                    paths[image_id] = path
            self._path_by_id = paths
        return self._path_by_id

    def _file(self, path: Path) -> h5py.File:
        """A file, opened by this process."""
        if self._pid != os.getpid():
            self._files, self._pid = {}, os.getpid()
        file = self._files.pop(path, None) or _open_maps(path)
        if len(self._files) >= MAX_OPEN_FILES:
            self._files.pop(next(iter(self._files))).close()
        self._files[path] = file
        return file

    def _dataset(self, image_id: str) -> h5py.Dataset:
        if not self._paths:
            raise UserError(f"{image_id} is in no map file, because none is given: give one")
        if image_id not in self:
            raise UserError(f"{image_id} is not in {self._named()}: remake it")
        file = self._file(self._by_id()[image_id])
        if not isinstance(file.get(image_id, getlink=True), h5py.HardLink):
            raise UserError(f"{image_id} in {file.filename} is a link, not a map: remake it")
        try:
            dataset = file[image_id]
        except HDF5_ERRORS as error:
            raise UserError(f"cannot read {image_id} in {file.filename}: remake it") from error
        if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
            raise UserError(f"{image_id} in {file.filename} is not a plain map: remake it")
        return dataset

    def _named(self) -> str:
        return ", ".join(map(str, self._paths))

    def __getitem__(self, image_id: str) -> np.ndarray:
        dataset = self._dataset(image_id)
        try:
            if dataset.nbytes > MAX_COMPRESSION * dataset.id.get_storage_size():
                raise ValueError(f"it claims {dataset.nbytes} bytes")
            return np.asarray(dataset[()])
        except HDF5_ERRORS as error:
            name = dataset.file.filename
            raise UserError(f"cannot read {image_id} in {name}: {error}; remake it") from error

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._by_id()

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id())

    def __len__(self) -> int:
        return len(self._by_id())

    def get(self, image_id: str, default: Any = None) -> Any:  # noqa: ANN401 - as Mapping.get
        """The map of an image, or `default` if there is none."""
        if image_id not in self:
            return default
        return self[image_id]

    def attributes(self, image_id: str) -> dict[str, Any]:
        """The attributes of an image's file, overridden by those of its dataset."""
        dataset = self._dataset(image_id)
        return _attributes(dataset.file) | _attributes(dataset)

    def file_attributes(self) -> dict[str, Any]:
        """The attributes of the first file."""
        with _open_maps(self._paths[0]) as file:
            return _attributes(file)

    def levels(self, image_id: str) -> np.ndarray:
        """A map in [0, 1] that is stored in 8 bits, as its levels: uint8, 255 = 1.

        What compares a map with thresholds takes levels (see `formats.levels`), because float32
        decides ties by rounding errors.

        Raises:
            UserError: if the map is stored otherwise.

        """
        array, highest = self[image_id], self.attributes(image_id).get("levels", 255)
        if array.dtype != np.uint8 or not isinstance(highest, int | float) or highest != 255:
            raise UserError(f"{image_id} in {self._named()} has no levels of 0 to 255: remake it")
        return array

    def log_probabilities(self, image_id: str) -> tuple[np.ndarray, np.ndarray]:
        """Natural logarithms of class probabilities, and their classes.

        Returns:
            (C, H, W) float16, 0 or less, and the class ids (C,) uint8 of the attribute `classes`.

        Raises:
            UserError: if the map is stored otherwise, as probabilities for example.

        """
        array, attributes = self[image_id], self.attributes(image_id)
        classes = np.asarray(attributes.get("classes", ()))
        is_log = array.dtype == np.float16 and attributes.get("values") == LOG_PROBABILITIES
        if not is_log or classes.dtype.kind not in "iu" or array.shape[:1] != classes.shape:
            raise UserError(
                f"{image_id} in {self._named()} holds no logarithms of probabilities, which earlier"
                " versions did not store: remake it"
            )
        return array, classes.astype(np.uint8)

    def floats(self, image_id: str) -> np.ndarray:
        """A map as float32; uint8 is divided by its attribute `levels` (default 255)."""
        array = self[image_id]
        scaled = array.dtype == np.uint8
        levels = self.attributes(image_id).get("levels", 255) if scaled else 1
        if array.dtype.kind not in "biuf" or not isinstance(levels, int | float):
            raise UserError(f"{image_id} in {self._named()} holds no numbers: remake it")
        return array / np.float32(levels) if scaled else array.astype(np.float32)


def _ids(file: h5py.File) -> list[str]:
    try:
        return list(file)
    except HDF5_ERRORS as error:
        raise UserError(f"cannot read the maps {file.filename}: {error}; remake it") from error


def _attributes(holder: h5py.File | h5py.Dataset) -> dict[str, Any]:
    """The attributes of a file or dataset as Python values."""
    try:
        attributes = dict(holder.attrs)
    except HDF5_ERRORS as error:
        name = holder.file.filename
        raise UserError(f"cannot read the attributes in {name}: {error}; remake it") from error
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in attributes.items()}


def _open_maps(path: Path) -> h5py.File:
    try:
        # Files never change after they appear; locking fails on some network disks.
        return h5py.File(path, "r", locking=False)
    except OSError as error:
        raise UserError(f"cannot read the maps {path}: {error}; remake it") from error
