"""DSRG's `localization_cues.pickle`: cues and class ids of all train images in one file."""

import gzip
import pickle
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np

from seedbed.formats.pickles import restricted
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

Item = TypeVar("Item")
MAX_UNPACKED = 1 << 30  # bytes; a few kilobytes can decompress to any size
CHUNK = 1 << 20


def write_cue_pickle(
    path: Path, cues: Iterable[np.ndarray], labels: Iterable[Sequence[int]]
) -> None:
    """Write the cues and classes of all images in DSRG's format.

    Image k, its number in `input_list.txt`, has two keys: `k_labels`, its class ids, and `k_cues`,
    int64 (3, n) with the class, row and column of each cue.

    Args:
        path: the file.
        cues: (C, g, g) for each image.
        labels: the foreground class ids of each image, without translation; published files use
            the data set's own ids.

    """
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT)
        for k, (cue, ids) in enumerate(zip(cues, labels, strict=True)):
            for key, value in ((f"{k}_labels", ids), (f"{k}_cues", np.nonzero(cue))):
                array = np.array(value, dtype=np.int64)
                file.write(_operations(key) + _operations(array) + pickle.SETITEM)
        file.write(pickle.STOP)


def _operations(value: object) -> bytes:
    """The opcodes that make one value; pickle itself would keep all images in memory."""
    operations = pickle.dumps(value, protocol=2).removeprefix(pickle.PROTO + b"\x02")
    # NumPy 1, and so DSRG's own loader, knows the module by its old name. The name cannot occur in
    # the data: the arrays are small int64 numbers, most of whose bytes are zero.
    new, old = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
    return operations.removesuffix(pickle.STOP).replace(new, old)


def read_cue_pickle(
    path: Path, *, num_classes: int, grid: int
) -> tuple[dict[int, np.ndarray], dict[int, tuple[int, ...]]]:
    """Read DSRG's `localization_cues.pickle`, also compressed as `.gz`.

    Args:
        path: the file.
        num_classes: C, the number of classes of the file's ids, including background.
        grid: side of the grid of cues.

    Returns:
        The cues (C, grid, grid) bool and the class ids of each image number k.

    Raises:
        UserError: if the file has other content, or a cue is outside the grid or the classes.

    """
    content = _load(path)
    cells = _numbered(content, "cues", path)
    cues = {
        k: _dense(cell, (num_classes, grid, grid), f"{k}_cues in {path}")
        for k, cell in cells.items()
    }
    ids = {k: content.get(f"{k}_labels") for k in cells}
    return cues, {k: _class_ids(ids[k], num_classes, f"{k}_labels in {path}") for k in ids}


def read_cue_labels(path: Path) -> dict[int, tuple[int, ...]]:
    """Read only the class ids of each image number k; raises UserError as `read_cue_pickle`."""
    labels = _numbered(_load(path), "labels", path)
    return {k: _class_ids(ids, 256, f"{k}_labels in {path}") for k, ids in labels.items()}


def by_image(items: Mapping[int, Item], numbers: Mapping[str, int], path: Path) -> dict[str, Item]:
    """Replace the image numbers of what was read from `path` by image ids.

    Args:
        items: anything by image number.
        numbers: the number of each image.
        path: the file, for the error message.

    Raises:
        UserError: if an image's number is missing.

    """
    for image_id, k in numbers.items():
        if k not in items:
            raise UserError(
                f"image {image_id}, number {k}, is not in {path}: give the list that belongs to it"
            )
    return {image_id: items[k] for image_id, k in numbers.items()}


def _load(path: Path) -> Any:  # noqa: ANN401 - any content of a pickle
    if path.suffix != ".gz":
        return restricted.load(path)
    with TemporaryDirectory() as folder:
        unpacked = Path(folder) / path.stem
        try:
            with gzip.open(path) as source, unpacked.open("wb") as target:
                for _ in range(MAX_UNPACKED // CHUNK):
                    target.write(source.read(CHUNK))
                if source.read(1):
                    limit = MAX_UNPACKED >> 20
                    raise UserError(f"{path} is larger than {limit} MB unpacked: unpack it first")
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"cannot unpack {path}: {error}; get it again") from error
        try:
            return restricted.load(unpacked)
        except UserError as error:
            raise UserError(str(error).replace(str(unpacked), str(path))) from error


def _numbered(content: Any, kind: str, path: Path) -> dict[int, Any]:  # noqa: ANN401
    """The values of the keys `{k}_{kind}`, sorted by k."""
    keys = content if isinstance(content, dict) else {}
    matches = [re.fullmatch(rf"(0|[1-9][0-9]{{0,8}})_{kind}", str(key)) for key in keys]
    numbers = sorted(int(match[1]) for match in matches if match)
    if not numbers:
        raise UserError(f"{path} holds no '0_{kind}': give DSRG's localization_cues.pickle")
    return {k: content[f"{k}_{kind}"] for k in numbers}


def _dense(cells: Any, shape: tuple[int, int, int], name: str) -> np.ndarray:  # noqa: ANN401
    """Class, row and column (3, n) of each cue → bool array of `shape`."""
    cells = _integers(cells)
    if cells is None or cells.ndim != 2 or len(cells) != 3:
        raise UserError(f"{name} is not an array of 3 rows of integers: make the cues again")
    outside = ((cells < 0) | (cells >= np.reshape(shape, (3, 1)))).any(axis=0)
    if outside.any():
        cell = tuple(cells[:, outside.argmax()].tolist())
        raise UserError(
            f"{name} has a cue {cell} (class, row, column) outside {shape}: give the "
            "grid of the file, or correct it"
        )
    dense = np.zeros(shape, dtype=bool)
    dense[tuple(cells)] = True
    return dense


def _class_ids(ids: Any, num_classes: int, name: str) -> tuple[int, ...]:  # noqa: ANN401
    ids = _integers(ids)
    if ids is None or ids.ndim != 1 or not ((ids > 0) & (ids < num_classes)).all():
        raise UserError(f"{name} are not class ids in 1..{num_classes - 1}: make the cues again")
    return tuple(ids.tolist())


def _integers(values: Any) -> np.ndarray | None:  # noqa: ANN401
    """An integer array of a list or array; None if it is ragged or has other values."""
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    if array.size == 0:  # NumPy takes an empty list for floats
        return array.astype(np.int64)
    return array if array.dtype.kind in "iu" else None
