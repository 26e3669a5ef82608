"""From the maps of an image's classes to a mask to train on."""

from collections.abc import Mapping

import numpy as np

VOID = 255


def saliency_guided(
    attention: Mapping[int, np.ndarray],
    saliency: np.ndarray,
    *,
    conflict_threshold: float = 0.9,
    attention_threshold: float = 0.8,
    saliency_threshold: int = 32,
    minimum_foreground: float = 0.01,
) -> np.ndarray:
    """Label each pixel by its strongest class; void where attention and saliency disagree.

    Args:
        attention: class id (1..254) → map (H, W) of any scale; each is brought to [0, 1] by its
            own minimum and maximum, a constant map to 0.
        saliency: (H, W) uint8; background scores 1 − saliency / 255.
        conflict_threshold: two scores above it, background's included: void.
        attention_threshold: a pixel labelled background with attention above it: void.
        saliency_threshold: a pixel labelled background with at least this saliency: void.
        minimum_foreground: with less foreground than this share of the image, all is void.

    Returns:
        (H, W) uint8: 0, the class ids given, and 255 = void. Of equal scores the lowest id wins.
        Source: Li et al., AAAI 2021 (Group-WSSS).

    Raises:
        ValueError: if `saliency` is not uint8 (H, W), or an id or a map's shape does not fit.

    """
    if saliency.ndim != 2 or saliency.dtype != np.uint8:
        raise ValueError(f"saliency must be uint8 (H, W), not {saliency.dtype} {saliency.shape}")
    ids, maps = _stack(attention, saliency.shape)
    maps = _min_max(maps)
    scores = np.concatenate([1 - saliency[None] / 255, maps])
    mask = ids[scores.argmax(axis=0)]
    mask[(scores > conflict_threshold).sum(axis=0) >= 2] = VOID
    doubtful = (saliency >= saliency_threshold) | (maps > attention_threshold).any(axis=0)
    mask[(mask == 0) & doubtful] = VOID
    if ((mask > 0) & (mask < VOID)).mean() < minimum_foreground:
        mask[:] = VOID
    return mask


def argmax_labels(
    scores: Mapping[int, np.ndarray], background_score: float | np.ndarray
) -> np.ndarray:
    """Label each pixel by its strongest class, or as background.

    scores: class id (1..254) → map (H, W), at least one; background_score: one for all pixels, or
    a map (H, W) → (H, W) uint8, never void. Of equal scores the lowest id wins, background first.
    Source: Ahn & Kwak, CVPR 2018 (PSA): 0.2 for CAMs in [0, 1], a map after the random walk.

    Raises:
        ValueError: if there is no map, or an id or a map's shape does not fit.

    """
    if not scores:
        raise ValueError("scores must hold at least one map")
    shape = next(iter(scores.values())).shape
    ids, maps = _stack(scores, shape)
    if np.shape(background_score) not in ((), shape):
        raise ValueError(f"background_score must be {shape}, not {np.shape(background_score)}")
    background = np.broadcast_to(background_score, (1, *shape))
    return ids[np.concatenate([background, maps]).argmax(axis=0)]


def _stack(maps: Mapping[int, np.ndarray], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Ids (1 + K,), background first, and maps (K, H, W) in ascending order of ids."""
    ids = sorted(maps)
    if not all(0 < c < VOID for c in ids):
        raise ValueError(f"class ids must be in 1..{VOID - 1}, not {ids}")
    for c in ids:
        if maps[c].shape != shape:
            raise ValueError(f"the map of class {c} must be {shape}, not {maps[c].shape}")
    stacked = np.array([maps[c] for c in ids], dtype=float).reshape(-1, *shape)
    return np.array([0, *ids], dtype=np.uint8), stacked


def _min_max(maps: np.ndarray) -> np.ndarray:
    """Stretch each map of (K, H, W) to [0, 1]; a constant one becomes 0."""
    low = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - low
    return (maps - low) / np.where(span > 0, span, 1)
