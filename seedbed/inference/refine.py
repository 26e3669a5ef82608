"""Labels from class probabilities: restriction to an image's own classes, and dense CRF."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from seedbed.crf import crf_posterior
from seedbed.formats.levels import quantise


def restrict_to_labels(
    log_probabilities: np.ndarray, classes: Sequence[int], labels: Collection[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities if an image shows nothing but background and its own classes.

    Args:
        log_probabilities: natural logarithms (C', H, W) of the probabilities among all classes,
            from which it does not matter how small those of the image's own classes are.
        classes: class ids of the C' channels; at least one of the following.
        labels: class ids of the image, without background.

    Returns:
        (C'', H, W) float32 that sums to 1 over the channels that are kept, and their class ids.

    """
    kept = np.isin(classes, [0, *labels])
    logarithms = log_probabilities[kept].astype(np.float32)
    scores = np.exp(logarithms - logarithms.max(axis=0))
    return scores / scores.sum(axis=0), np.asarray(classes)[kept]


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
