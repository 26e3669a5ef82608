"""What the stages hand to each other: text, tables, HDF5 maps and palette masks, all atomic.

A file is written beside its target and renamed into place, so that whoever sees it sees it whole.
"""

import csv
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import StringIO
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from PIL import Image

from seedbed.errors import UserError

Item = TypeVar("Item")


def _voc_palette() -> np.ndarray:
    """Give VOC's colours: bit 3j + c of an index is bit 7 - j of channel c (VOC devkit)."""
    index = np.arange(256)[:, None]
    channel = np.arange(3)
    return sum(((index >> (3 * j + channel)) & 1) << (7 - j) for j in range(3)).astype(np.uint8)


VOC_PALETTE = _voc_palette()


def _beside(path: Path) -> Path:
    """Name a hidden neighbour of `path` with the same suffix; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path; the file written there becomes `path`, on an error it vanishes."""
    temporary = _beside(Path(path))
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` (replacing it), or vanishes."""
    temporary, old = _beside(Path(path)), _beside(Path(path))
    temporary.mkdir()
    try:
        yield temporary
        if Path(path).exists():
            Path(path).rename(old)  # a folder that is not empty cannot be replaced
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


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
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read the table {path}: {error}; remake it") from error
    return list(csv.DictReader(StringIO(text, newline=""), dialect="excel-tab"))


class MapWriter:
    """Puts arrays into an open HDF5 file, one dataset an image."""

    def __init__(self, file: h5py.File) -> None:
        self._file = file

    def put(self, image_id: str, array: np.ndarray, **attributes: object) -> None:
        """Store an array of any shape under an id (unicode without '/'), each id once."""
        if not image_id or image_id == "." or "/" in image_id:
            raise ValueError(f"image_id: {image_id!r} cannot name a dataset")
        # One chunk: a map is always read whole. An empty array cannot be chunked.
        filters = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        options = {"chunks": array.shape, **filters} if array.size and array.ndim else {}
        dataset = self._file.create_dataset(image_id, data=array, **options)
        dataset.attrs.update(attributes)


@contextmanager
def write_maps(path: Path, **attributes: object) -> Iterator[MapWriter]:
    """Write an HDF5 map file; the same puts in the same order give the same bytes.

    `attributes` (numbers, strings, lists of them) are the file's and hold for every map.
    """
    with atomic(path) as temporary, h5py.File(temporary, "w", locking=False) as file:
        file.attrs.update(attributes)
        yield MapWriter(file)


class Maps(Mapping[str, np.ndarray]):
    """The arrays of one or several HDF5 map files by image id, read as they are asked for.

    Iterates file by file in the order given, inside a file by id. Opened by each process for
    itself, so one object serves forked and spawned workers. Raises UserError for a file that
    cannot be read, an id that is missing or stands in two files, and links out of the file.
    """

    def __init__(self, paths: Path | str | Sequence[Path | str]) -> None:
        one = isinstance(paths, str | Path)
        self._paths = [Path(path) for path in ([paths] if one else paths)]
        self._files: dict[str, h5py.File] = {}
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
            for file in set(self._files.values()):
                file.close()
        self._files, self._pid = {}, -1

    def _by_id(self) -> dict[str, h5py.File]:
        """Give the open file of every id, opening all of them first in a new process."""
        if self._pid != os.getpid():
            files: dict[str, h5py.File] = {}
            for path in self._paths:
                file = _open_maps(path)
                for image_id in file:
                    if image_id in files:
                        other = files[image_id].filename
                        raise UserError(f"{image_id} is in {other} and in {path}: remake them")
                    files[image_id] = file
            self._files, self._pid = files, os.getpid()
        return self._files

    def _dataset(self, image_id: str) -> h5py.Dataset:
        if image_id not in self:
            raise UserError(f"{image_id} is not in {self._named()}: remake it")
        file = self._by_id()[image_id]
        if not isinstance(file.get(image_id, getlink=True), h5py.HardLink):
            raise UserError(f"{image_id} in {file.filename} is a link, not a map: remake it")
        try:
            dataset = file[image_id]
        except (OSError, KeyError, RuntimeError) as error:
            raise UserError(f"cannot read {image_id} in {file.filename}: remake it") from error
        if not isinstance(dataset, h5py.Dataset) or dataset.is_virtual or dataset.external:
            raise UserError(f"{image_id} in {file.filename} is not a plain map: remake it")
        return dataset

    def _named(self) -> str:
        return ", ".join(map(str, self._paths)) or "no file at all"

    def __getitem__(self, image_id: str) -> np.ndarray:
        dataset = self._dataset(image_id)
        try:
            return dataset[()]
        except (OSError, RuntimeError) as error:
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
        both = {**dataset.file.attrs, **dataset.attrs}
        return {k: v.item() if isinstance(v, np.generic) else v for k, v in both.items()}

    def file_attributes(self) -> dict[str, Any]:
        """Give the attributes of the first file, those that hold for all of its maps."""
        with _open_maps(self._paths[0]) as file:
            return {k: v.item() if isinstance(v, np.generic) else v for k, v in file.attrs.items()}

    def floats(self, image_id: str) -> np.ndarray:
        """Give a map as float32: uint8 divided by its attribute `levels` (255 if it has none)."""
        array = self[image_id]
        if array.dtype != np.uint8:
            return array.astype(np.float32)
        return array / np.float32(self.attributes(image_id).get("levels", 255))


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
        with Image.open(path) as image:
            mode, pixels = image.mode, np.array(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"cannot read the mask {path}: {error}; put a whole PNG there") from error
    if mode in ("P", "L"):
        return pixels
    if mode == "RGB":
        return _decode_colours(path, pixels)
    raise UserError(f"mask {path} has mode {mode}: save it as palette, grey or RGB PNG")


def _decode_colours(path: Path, pixels: np.ndarray) -> np.ndarray:
    weights = np.array([1 << 16, 1 << 8, 1])
    codes, colours = pixels @ weights, VOC_PALETTE @ weights
    order = np.argsort(colours)
    ids = order[np.searchsorted(colours[order], codes).clip(max=255)]
    unknown = colours[ids] != codes
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
