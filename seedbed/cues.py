"""Localisation cues: the few cells of an image that its class maps and saliency are sure of.

Foreground: Kolesnikov & Lampert, ECCV 2016 (SEC). Background from saliency, and the file format:
Huang et al., CVPR 2018 (DSRG).
"""

import gzip
import pickle
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar

import numpy as np

from seedbed import restricted_pickle
from seedbed.atomic import atomic
from seedbed.errors import UserError
from seedbed.palette_masks import VOC_PALETTE

Item = TypeVar("Item")
MAX_UNPACKED = 1 << 30  # bytes; a few kilobytes can unpack to any number of them
CHUNK = 1 << 20
Conflict = Literal["fg_over_bg", "bg_over_fg", "smaller_wins", "ignore", "multi_hot"]


def make_cues(
    cams: np.ndarray,
    saliency: np.ndarray,
    labels: Sequence[int],
    *,
    num_classes: int,
    grid: int,
    foreground_fraction: float = 0.2,
    background_threshold: float = 0.06,
    conflict: Conflict = "fg_over_bg",
    foreground_saliency: float = 0.0,
) -> np.ndarray:
    """Cues of one image on a square grid.

    Args:
        cams: (K, h, w) floating, the maps of the image's K foreground classes, any scale.
        saliency: (h', w') floating in [0, 1].
        labels: the K class ids, 1..C-1, in the order of `cams`.
        num_classes: C, background included.
        grid: cells on each side; maps are resampled to it bilinearly, corners on corners.
        foreground_fraction: a cell is of a class if its map is above this times the maximum.
        background_threshold: a cell is background if its saliency is below.
        conflict: what becomes of a cell with several classes. "smaller_wins": the class with
            fewer cells has it; "fg_over_bg", "bg_over_fg": the same among foreground classes,
            and background always loses or wins; "ignore": nobody has it; "multi_hot": all do.
        foreground_saliency: a foreground cell needs at least this saliency.

    Returns:
        (C, grid, grid) bool. Background and every class of the image have at least one cell:
        where the rules leave none, the one of the lowest saliency or highest map that is not
        another class's last.

    Raises:
        ValueError: if the arguments do not fit together.

    """
    _check_arguments(cams, saliency, labels, num_classes)
    cams, salience = _resample(cams, grid), _resample(saliency[None], grid)
    peaks = cams.max(axis=(1, 2), keepdims=True)
    foreground = (cams > foreground_fraction * peaks) & (salience >= foreground_saliency)
    regions = _resolve(np.concatenate([salience < background_threshold, foreground]), conflict)
    _keep_one_each(regions, np.concatenate([-salience, cams]), shared=conflict == "multi_hot")
    cues = np.zeros((num_classes, grid, grid), dtype=bool)
    cues[[0, *labels]] = regions
    return cues


def _check_arguments(
    cams: np.ndarray, saliency: np.ndarray, labels: Sequence[int], num_classes: int
) -> None:
    if cams.ndim != 3 or len(cams) != len(labels):
        raise ValueError(f"cams must be ({len(labels)}, h, w) for these labels, not {cams.shape}")
    if saliency.ndim != 2 or not 0 <= saliency.min() <= saliency.max() <= 1:
        raise ValueError("saliency must be (h, w) within [0, 1]")
    if len(set(labels)) < len(labels) or not all(0 < c < num_classes for c in labels):
        raise ValueError(f"labels must be distinct and in 1..{num_classes - 1}, not {labels}")


def _resample(maps: np.ndarray, grid: int) -> np.ndarray:
    """(K, h, w) → (K, grid, grid), bilinear, corners on corners."""
    for axis in (1, 2):
        last = maps.shape[axis] - 1
        place = np.linspace(0, last, grid)
        before = place.astype(int)
        share = (place - before).reshape((-1, 1) if axis == 1 else (1, -1))
        after = np.minimum(before + 1, last)
        maps = maps.take(before, axis) * (1 - share) + maps.take(after, axis) * share
    return maps


def _resolve(regions: np.ndarray, conflict: Conflict) -> np.ndarray:
    """Decide the cells that several regions (1 + K, g, g) claim; region 0 is background."""
    if conflict == "multi_hot":
        return regions
    if conflict == "ignore":
        return regions & (regions.sum(axis=0) == 1)
    background_rank = {"fg_over_bg": -1, "smaller_wins": 0, "bg_over_fg": 1}
    if conflict not in background_rank:
        raise ValueError(f"conflict must not be {conflict!r}")
    rank = np.zeros(len(regions), dtype=int)
    rank[0] = background_rank[conflict]
    owner = np.full(regions.shape[1:], -1)
    for region in np.lexsort((-regions.sum(axis=(1, 2)), rank)):
        owner[regions[region]] = region  # the smaller come later and paint over the larger
    return owner == np.arange(len(regions))[:, None, None]


def _keep_one_each(regions: np.ndarray, preference: np.ndarray, *, shared: bool) -> None:
    """Give each empty region (in place) its preferred cell; only `shared` cells have two owners."""
    for empty in np.flatnonzero(~regions.any(axis=(1, 2))):
        lone = regions.sum(axis=(1, 2)) == 1
        taken = regions[lone].any(axis=0) & (not shared)
        best = np.unravel_index(np.where(taken, -np.inf, preference[empty]).argmax(), taken.shape)
        if not taken[best]:
            regions[:, *best] &= shared
            regions[empty, *best] = True


def write_cue_pickle(
    path: Path, cues: Iterable[np.ndarray], labels: Iterable[Sequence[int]]
) -> None:
    """Write cues (C, g, g) and foreground classes of all images in DSRG's format.

    Image k of the sequences has the keys `k_labels`, its class ids, and `k_cues`, (3, n) int64:
    class, row and column of each cue. k is the image's number in `input_list.txt`. The ids are
    written as they are: published files have the data set's own.
    """
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(pickle.PROTO + b"\x02" + pickle.EMPTY_DICT)
        for k, (cue, ids) in enumerate(zip(cues, labels, strict=True)):
            for key, value in ((f"{k}_labels", ids), (f"{k}_cues", np.nonzero(cue))):
                array = np.array(value, dtype=np.int64)
                file.write(_operations(key) + _operations(array) + pickle.SETITEM)
        file.write(pickle.STOP)


def _operations(value: object) -> bytes:
    """Give what makes one value in a pickle: pickle itself would hold all images until the end."""
    operations = pickle.dumps(value, protocol=2).removeprefix(pickle.PROTO + b"\x02")
    # NumPy 1, and so DSRG's own loader, knows the module by its old name. The arrays hold small
    # int64, every other byte or more zero, so the name cannot occur in them.
    new, old = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
    return operations.removesuffix(pickle.STOP).replace(new, old)


def read_cue_pickle(
    path: Path, *, num_classes: int, grid: int
) -> tuple[dict[int, np.ndarray], dict[int, tuple[int, ...]]]:
    """Read DSRG's `localization_cues.pickle`: cues (C, grid, grid) bool and class ids by k.

    A name that ends in `.gz` is unpacked first. `num_classes`: of the file's ids, with background.

    Raises:
        UserError: if the file is no such pickle, or a cue lies outside the grid or the classes.

    """
    content = _load(path)
    cells = _numbered(content, "cues", path)
    cues = {
        k: _dense(found, (num_classes, grid, grid), f"{k}_cues in {path}")
        for k, found in cells.items()
    }
    ids = {k: content.get(f"{k}_labels") for k in cells}
    return cues, {k: _class_ids(ids[k], num_classes, f"{k}_labels in {path}") for k in ids}


def read_cue_labels(path: Path) -> dict[int, tuple[int, ...]]:
    """Read the class ids alone of such a pickle by k; raises UserError as `read_cue_pickle`."""
    found = _numbered(_load(path), "labels", path)
    return {k: _class_ids(ids, 256, f"{k}_labels in {path}") for k, ids in found.items()}


def by_image(found: Mapping[int, Item], numbers: Mapping[str, int], path: Path) -> dict[str, Item]:
    """Give what a pickle holds of each image, by the images' numbers; UserError if it lacks one."""
    for image_id, k in numbers.items():
        if k not in found:
            raise UserError(
                f"image {image_id}, number {k}, is not in {path}: give the list that belongs to it"
            )
    return {image_id: found[k] for image_id, k in numbers.items()}


def _load(path: Path) -> Any:  # noqa: ANN401 - any content of a pickle
    if path.suffix != ".gz":
        return restricted_pickle.load(path)
    with TemporaryDirectory() as folder:
        unpacked = Path(folder) / path.stem
        try:
            with gzip.open(path) as source, unpacked.open("wb") as target:
                for _ in range(MAX_UNPACKED // CHUNK):
                    target.write(source.read(CHUNK))
                if source.read(1):
                    raise UserError(f"it is larger than {MAX_UNPACKED >> 20} MB: unpack it first")
            return restricted_pickle.load(unpacked)
        except (OSError, EOFError, zlib.error, UserError) as error:
            raise UserError(f"cannot unpack and read {path}: {error}; get it again") from error


def _numbered(content: Any, kind: str, path: Path) -> dict[int, Any]:  # noqa: ANN401
    """Find the values of the keys `{k}_{kind}`, ordered by k."""
    keys = content if isinstance(content, dict) else {}
    matches = [re.fullmatch(rf"(0|[1-9][0-9]{{0,8}})_{kind}", str(key)) for key in keys]
    numbers = sorted(int(match[1]) for match in matches if match)
    if not numbers:
        raise UserError(f"{path} holds no '0_{kind}': give DSRG's localization_cues.pickle")
    return {k: content[f"{k}_{kind}"] for k in numbers}


def _dense(cells: Any, shape: tuple[int, int, int], name: str) -> np.ndarray:  # noqa: ANN401
    """Turn (3, n) integers into bool of `shape`."""
    cells = _integers(cells)
    if cells is None or cells.ndim != 2 or len(cells) != 3:
        raise UserError(f"{name} is not an array of 3 rows of integers: make the cues again")
    outside = ((cells < 0) | (cells >= np.reshape(shape, (3, 1)))).any(axis=0)
    if outside.any():
        cell = tuple(cells[:, outside.argmax()].tolist())
        raise UserError(
            f"{name} has a cue {cell} (class, row, column) outside {shape}: give the "
            "grid of the file, or mend it"
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
    """Turn arrays or lists of them into one of integers; None if they are none or ragged."""
    try:
        array = np.asarray(values)
    except ValueError:
        return None
    return array if array.dtype.kind in "iu" else None


def cue_preview(image: np.ndarray, cues: np.ndarray) -> np.ndarray:
    """Paint cues (C, g, g) in VOC's colours over an image (H, W, 3) uint8: same shape.

    Cells without a cue show the image, paler; background cues darken it; of several classes the
    highest id shows.
    """
    rows, columns = (
        np.rint(np.linspace(0, cells - 1, pixels)).astype(int)
        for cells, pixels in zip(cues.shape[1:], image.shape[:2], strict=True)
    )
    cues = cues[:, rows[:, None], columns]
    colour = VOC_PALETTE[len(cues) - 1 - cues[::-1].argmax(axis=0)]
    seeded = cues.any(axis=0)[..., None]
    return np.where(seeded, image // 4 + colour // 4 * 3, image // 2 + 64).astype(np.uint8)
