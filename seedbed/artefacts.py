"""What the stages hand to each other: text, tables, HDF5 maps and palette masks, all atomic.

A file is written beside its target, brought to the disk and renamed into place, so that whoever
sees it sees it whole, after a crash of the machine too. What the disk refuses ends in a UserError.
"""

import csv
import ctypes
import errno
import functools
import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from PIL import Image

from seedbed.errors import UserError
from seedbed.pictures import open_picture
from seedbed.temporaries import beside, held, sweep

Item = TypeVar("Item")
OPEN_FILES = 32  # of one Maps: each takes half a megabyte, and a process may often have 1024 in all
# What h5py raises for a damaged file.
HDF5_FAILURES = (OSError, KeyError, RuntimeError, ValueError, TypeError)
DEFLATION = 1032  # deflate shrinks nothing further (RFC 1951: 258 bytes in two bits)


def _voc_palette() -> np.ndarray:
    """Give VOC's colours: bit 3j + c of an index is bit 7 - j of channel c (VOC devkit)."""
    index = np.arange(256)[:, None]
    channel = np.arange(3)
    return sum(((index >> (3 * j + channel)) & 1) << (7 - j) for j in range(3)).astype(np.uint8)


VOC_PALETTE = _voc_palette()


# What makes a disk take files again; for all other reasons, a right to write.
REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EFBIG: "raise the limit on files (ulimit -f)",
}
PROBE = 1 << 20  # bytes; more than Pillow gives back when it fails


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path; the file written there becomes `path`, on an error it vanishes.

    Raises UserError if the disk is full, or nothing may be written there.
    """
    path = Path(path)
    temporary = beside(path)
    try:
        with _refusals_named(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path.parent.resolve())
            with held(temporary, temporary.touch):
                yield temporary
                _sync(temporary)
                temporary.replace(path)
        _sync_name(path)
    finally:
        with suppress(OSError):  # where nothing can be written there is nothing to remove
            temporary.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` (replacing it), or vanishes.

    Raises UserError as `atomic` does.
    """
    path = Path(path)
    temporary, old = beside(path), beside(path)
    try:
        with _refusals_named(path, temporary / "probe"):
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path.parent.resolve())
            with held(temporary, temporary.mkdir):
                yield temporary
                _sync_all(temporary)
                while not _moved(temporary, path):
                    with suppress(FileNotFoundError):  # another process was moving its own
                        path.rename(old)
                    shutil.rmtree(old, ignore_errors=True)
        _sync_name(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _moved(folder: Path, path: Path) -> bool:
    """Rename a folder; False if one that is not empty has that name: it cannot be replaced."""
    try:
        folder.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


@contextmanager
def _refusals_named(path: Path, probe: Path) -> Iterator[None]:
    """Turn an error while `path` is written into a UserError, if the disk takes no more.

    Libraries lose the reason (torch), so the disk is asked for it, at the path `probe`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if refusal := _refusal(probe):
            remedy = REMEDIES.get(refusal.errno, "let this user write there")
            reason = f"cannot write {path}: {refusal.strerror}"
            raise UserError(f"{reason}; {remedy} and run the same command again") from error
        raise


def _refusal(probe: Path) -> OSError | None:
    """Why the disk takes no more, or None if it does; what is written for that stays."""
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        with probe.open("ab") as file:
            file.write(bytes(PROBE))
        _sync(probe)
    except OSError as refusal:
        return refusal
    return None


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_name(path: Path) -> None:
    """Wait until a name is on the disk, on file systems that can tell."""
    with suppress(OSError):
        _sync(path.parent)


def _sync_all(folder: Path) -> None:
    """Wait until all of a folder's file system is on the disk: one call for any number of files."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with the line ends it has."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write a JSON value, keys sorted, indented by one."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def _cell(value: object) -> str:
    """Format one cell of a table: %.6g for floats, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{value:.6g}"
    return str(value)


def write_tsv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table whose columns are the keys of the first row; all rows have the same keys."""
    text = StringIO(newline="")
    writer = csv.writer(text, dialect="excel-tab", lineterminator="\n")
    columns = list(rows[0]) if rows else []
    writer.writerow(columns)
    for row in rows:
        if row.keys() != set(columns):
            raise ValueError(f"rows: keys {list(row)} are not the columns {columns}")
        writer.writerow([_cell(row[column]) for column in columns])
    write_text(path, text.getvalue())


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Read a table of strings; raises UserError if there is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return list(csv.DictReader(StringIO(text, newline=""), dialect="excel-tab"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read the table {path}: {error}; remake it") from error


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


def save_mask(path: Path, mask: np.ndarray) -> None:
    """Write a mask as `write_mask`, but in place: for a folder that appears as a whole."""
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ValueError(f"mask: uint8 (H, W) wanted, got {mask.dtype} {mask.shape}")
    image = Image.fromarray(mask)
    # All 256 colours: with fewer Pillow writes fewer bits a pixel, and 255 is lost.
    image.putpalette(VOC_PALETTE.tobytes())
    image.save(path, format="PNG")


def write_mask(path: Path, mask: np.ndarray) -> None:
    """Write class ids (H, W) uint8 as an 8-bit palette PNG in VOC's colours."""
    with atomic(path) as temporary:
        save_mask(temporary, mask)


def read_mask(path: Path) -> np.ndarray:
    """Read a mask PNG as ids (H, W) uint8; an RGB one is decoded by VOC's colours."""
    try:
        with open_picture(path, ["PNG"]) as image:
            mode, pixels = image.mode, np.array(image)
    except Exception as error:  # see open_picture
        raise UserError(f"cannot read the mask {path}: {error}; put a whole PNG there") from error
    if mode in ("P", "L"):
        return pixels
    if mode == "RGB":
        return _decode_colours(path, pixels)
    raise UserError(f"mask {path} has mode {mode}: save it as palette, grey or RGB PNG")


def _codes(colours: np.ndarray) -> np.ndarray:
    """Turn colours (…, 3) uint8 into one number each, int32."""
    red, green, blue = np.moveaxis(colours, -1, 0)
    return red.astype(np.int32) << 16 | green.astype(np.int32) << 8 | blue


@functools.cache
def _ids_by_colour() -> np.ndarray:
    """Give VOC's class id of every colour, int16 by its number; -1 for the others."""
    ids = np.full(1 << 24, -1, dtype=np.int16)
    ids[_codes(VOC_PALETTE)] = np.arange(256)
    return ids


def _decode_colours(path: Path, pixels: np.ndarray) -> np.ndarray:
    ids = _ids_by_colour()[_codes(pixels)]
    unknown = ids < 0
    if unknown.any():
        colour = tuple(pixels[unknown][0].tolist())
        raise UserError(f"mask {path} has the colour {colour}, not one of VOC's: mend the mask")
    return ids.astype(np.uint8)


def shard_of(items: Sequence[Item], shard: str) -> list[Item]:
    """Give every n-th item beginning with the k-th, for a shard "k-of-n", k from 1."""
    match = re.fullmatch(r"([0-9]+)-of-([0-9]+)", shard)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise UserError(f"shard {shard!r} is none: write it as 3-of-16, from 1-of-16 to 16-of-16")
    return list(items[number - 1 :: count])
