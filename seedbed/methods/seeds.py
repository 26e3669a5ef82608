"""Localisation cues: the few cells of an image that its class maps and saliency are sure of.

Foreground: Kolesnikov & Lampert, ECCV 2016 (SEC). Background from saliency: Huang et al., CVPR 2018
(DSRG).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np

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
