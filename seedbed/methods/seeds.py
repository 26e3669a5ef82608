"""Localisation cues (seeds) of an image from its class activation maps and its saliency.

Foreground: Kolesnikov & Lampert, "Seed, Expand and Constrain", ECCV 2016 (SEC;
weak-localization/foreground of its code). Background from saliency: Huang et al., CVPR 2018 (DSRG).
DSRG's rule for cells that several classes claim was not published; the rules here include those of
the SGAN code (tools/stage2/infer_cam.py) and of SEC-MXNet.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from seedbed.formats.levels import fractions
from seedbed.methods.resampling import resize

# Decimals kept of interpolated values. Rounding errors (about 1e-15) must not decide whether a
# value equals a threshold; on a 41 × 41 grid, interpolated 8-bit values that truly differ from a
# threshold of three decimals differ by at least 2e-9.
DECIMALS = 12

Conflict = Literal["fg_over_bg", "bg_over_fg", "smaller_wins", "ignore", "multi_hot"]
BACKGROUND_PRIORITY = {"fg_over_bg": -1, "smaller_wins": 0, "bg_over_fg": 1}


def make_cues(
    cams: np.ndarray,
    saliency: np.ndarray,
    labels: Sequence[int],
    *,
    num_classes: int,
    grid: int,
    foreground_fraction: float,
    background_threshold: float,
    conflict: Conflict,
    foreground_saliency: float,
) -> np.ndarray:
    """Localisation cues of one image on a square grid.

    Args:
        cams: (K, h, w), maps of the image's K foreground classes, any scale.
        saliency: (h', w'), uint8 levels of 0..255 or floating in [0, 1].
        labels: the K class ids, 1..C-1, in the order of `cams`.
        num_classes: C, background included.
        grid: cells per side; maps are resized to it bilinearly, corner-aligned.
        foreground_fraction: a cell belongs to a class if its map exceeds this fraction of the
            map's maximum on the grid. SEC: 0.2.
        background_threshold: a cell is background if its saliency is below. DSRG: 0.06.
        conflict: rule for cells that several classes claim. "smaller_wins": the class with fewer
            cells; "fg_over_bg" and "bg_over_fg": the same among foreground classes, while
            background always loses or wins; "ignore": no class; "multi_hot": all of them.
        foreground_saliency: least saliency of a foreground cell; 0 = no condition.

    Returns:
        (C, grid, grid) bool. As in SEC's cues, background and every class of the image have at
        least one cell: a class left with none gets the cell of its highest map (background: of the
        lowest saliency) that is not the only cell of another class. The exception is a map that is
        the same everywhere, such as a CAM of zeros: it does not show where the class is, and
        gives it no cell.

    Raises:
        ValueError: if shapes or labels do not fit together, saliency is outside [0, 1] or
            `conflict` is unknown.

    """
    saliency = fractions(saliency)
    _check_arguments(cams, saliency, labels, num_classes)
    cams = _shares_of_maximum(_to_grid(cams, grid)).round(DECIMALS)
    saliency = _to_grid(saliency[None], grid).round(DECIMALS)
    varied = np.ptp(cams, axis=(1, 2), keepdims=True) > 0
    foreground = varied & (cams > foreground_fraction) & (saliency >= foreground_saliency)
    regions = np.concatenate([saliency < background_threshold, foreground])
    regions = _resolve_conflicts(regions, conflict)
    scores = np.concatenate([-saliency, cams])
    _give_each_class_a_cell(regions, scores, allow_shared=conflict == "multi_hot")
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


def _to_grid(maps: np.ndarray, grid: int) -> np.ndarray:
    """(K, h, w) → (K, grid, grid) float64, bilinear, corner-aligned; K may be 0."""
    batch = torch.from_numpy(np.asarray(maps, dtype=np.float64))[:, None]
    return resize(batch, (grid, grid), "corner_aligned").numpy()[:, 0]


def _shares_of_maximum(maps: np.ndarray) -> np.ndarray:
    """Divide each map of (K, g, g) by its maximum, unless that is 0 or less."""
    maxima = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.where(maxima > 0, maxima, 1)


def _resolve_conflicts(regions: np.ndarray, conflict: Conflict) -> np.ndarray:
    """Apply the conflict rule to the regions (1 + K, g, g) bool; region 0 is background."""
    if conflict == "multi_hot":
        return regions
    if conflict == "ignore":
        return regions & (regions.sum(axis=0) == 1)
    if conflict not in BACKGROUND_PRIORITY:
        raise ValueError(f"conflict must not be {conflict!r}")
    priority = np.zeros(len(regions), dtype=int)
    priority[0] = BACKGROUND_PRIORITY[conflict]
    owner = np.full(regions.shape[1:], -1)
    # Ascending priority, then descending area: later regions overwrite earlier ones.
    for region in np.lexsort((-regions.sum(axis=(1, 2)), priority)):
        owner[regions[region]] = region
    return owner == np.arange(len(regions))[:, None, None]


def _give_each_class_a_cell(regions: np.ndarray, scores: np.ndarray, *, allow_shared: bool) -> None:
    """Give each empty region, in place, its cell of highest score, unless all scores are equal.

    Unless `allow_shared`, the cell is taken from its owner, and never an owner's only cell.
    """
    located = np.ptp(scores, axis=(1, 2)) > 0
    for empty in np.flatnonzero(located & ~regions.any(axis=(1, 2))):
        has_one_cell = regions.sum(axis=(1, 2)) == 1
        taken = regions[has_one_cell].any(axis=0) & (not allow_shared)
        best = np.unravel_index(np.where(taken, -np.inf, scores[empty]).argmax(), taken.shape)
        if not taken[best]:
            regions[:, *best] &= allow_shared
            regions[empty, *best] = True
