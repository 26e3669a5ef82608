"""From class probabilities to labels: only the tags, and the dense CRF."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from seedbed.crf import dense_crf, unary_from_probabilities
from seedbed.formats.maps import quantise


def only_tagged(
    probabilities: np.ndarray, classes: Sequence[int], tags: Collection[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Those of the maps (C', H, W) and of their class ids that are background's or a tag's."""
    tagged = np.isin(classes, [0, *tags])
    return probabilities[tagged], np.asarray(classes)[tagged]


def crf_labels(
    image: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[int],
    params: Mapping[str, float],
) -> np.ndarray:
    """Label and confidence · 255 (2, H, W) uint8 of each pixel after a dense CRF.

    image (H, W, 3) uint8; probabilities (C', H, W) float32 in [0, 1] of the C' `classes`, brought
    to a sum of 1 here; `params` are those of `dense_crf`.
    """
    total = probabilities.sum(0, keepdims=True)
    unary = unary_from_probabilities(probabilities / np.maximum(total, 1e-12))
    posterior = dense_crf(image, unary, params)
    labels = np.asarray(classes, dtype=np.uint8)[posterior.argmax(0)]
    return np.stack([labels, quantise(posterior.max(0))])
