"""Labels from class probabilities: restriction to an image's own classes, and dense CRF."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from seedbed.crf import crf_posterior
from seedbed.formats.levels import quantise


def restrict_to_labels(
    probabilities: np.ndarray, classes: Sequence[int], labels: Collection[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Keep background and the image's own classes.

    Args:
        probabilities: (C', H, W).
        classes: class ids of the C' channels.
        labels: class ids of the image, without background.

    Returns:
        The kept channels (not renormalised) and their class ids.

    """
    kept = np.isin(classes, [0, *labels])
    return probabilities[kept], np.asarray(classes)[kept]


def argmax_classes(scores: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Class ids (H, W) uint8 of the highest of the scores (C', H, W); of equals the first."""
    return np.asarray(classes, dtype=np.uint8)[scores.argmax(0)]


def crf_labels(
    image: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[int],
    params: Mapping[str, float],
) -> np.ndarray:
    """Labels and confidence after a dense CRF.

    Args:
        image: RGB uint8 (H, W, 3).
        probabilities: (C', H, W) float32 in [0, 1]; normalised here to sum to 1.
        classes: class ids of the C' channels.
        params: parameters of `seedbed.crf.dense_crf`.

    Returns:
        (2, H, W) uint8: class id, and the posterior of that class times 255, rounded.

    """
    posterior = crf_posterior(image, probabilities, params)
    return np.stack([argmax_classes(posterior, classes), quantise(posterior.max(0))])
