"""Group-WSSS' pseudo labels from attention and saliency.

Li et al., "Group-Wise Semantic Mining for Weakly Supervised Semantic Segmentation", AAAI 2021;
gen_labels.py of the authors' code.
"""

from collections.abc import Mapping

import numpy as np

from seedbed.formats.palette import VOID
from seedbed.methods.class_maps import stack_class_maps


def saliency_guided(
    attention: Mapping[int, np.ndarray],
    saliency: np.ndarray,
    *,
    conflict_threshold: float,
    attention_threshold: float,
    saliency_threshold: int,
    minimum_foreground: float,
) -> np.ndarray:
    """Label each pixel with its strongest class; void where attention and saliency disagree.

    Computes in the precision of the authors' code, so that ties are decided as there: attention is
    scaled, and compared with its threshold, in float64; the scores are float32.

    Args:
        attention: class id (1..254) → (H, W) map of any scale. Each map a is scaled to [0, 1] as
            (a − min a) / (max a − min a + 1e-8); a constant map becomes 0. The authors' maps, and
            this project's, are 8-bit levels of 0..255.
        saliency: (H, W) uint8. The score of background is 1 − saliency / 255.
        conflict_threshold: a pixel is void if two scores, background's included, exceed it.
            Group-WSSS: 0.9.
        attention_threshold: a background pixel is void if the attention of a class exceeds it.
            Group-WSSS: 0.8.
        saliency_threshold: a background pixel is void if its saliency is at least this, in grey
            levels. Group-WSSS: 32.
        minimum_foreground: the whole mask is void if its foreground covers less than this fraction
            of the image. Group-WSSS: 0.01.

    Returns:
        (H, W) uint8: 0, class ids and 255 = void. Scores that are equal as float32 go to the lowest
        id, background first.

    Raises:
        ValueError: if `saliency` is not uint8 (H, W), or an id or the shape of a map does not fit.

    """
    if saliency.ndim != 2 or saliency.dtype != np.uint8:
        raise ValueError(f"saliency must be uint8 (H, W), not {saliency.dtype} {saliency.shape}")
    ids, maps = stack_class_maps(attention, saliency.shape)
    maps = _min_max(maps.astype(np.float64))
    background = 1 - saliency[None].astype(np.float32) / np.float32(255)
    scores = np.concatenate([background, maps.astype(np.float32)])
    mask = ids[scores.argmax(axis=0)]
    mask[(scores > np.float32(conflict_threshold)).sum(axis=0) >= 2] = VOID
    uncertain = (saliency >= saliency_threshold) | (maps > attention_threshold).any(axis=0)
    mask[(mask == 0) & uncertain] = VOID
    if ((mask > 0) & (mask < VOID)).mean() < minimum_foreground:
        mask[:] = VOID
    return mask


def _min_max(maps: np.ndarray) -> np.ndarray:
    """Scale each map of (K, H, W) to [0, 1]; a constant map becomes 0."""
    minimum = maps.min(axis=(1, 2), keepdims=True)
    span = maps.max(axis=(1, 2), keepdims=True) - minimum
    return (maps - minimum) / (span + 1e-8)
