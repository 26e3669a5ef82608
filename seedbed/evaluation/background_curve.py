"""Mean IoU of class maps against the constant background score, as SEAM plots it."""

from collections.abc import Iterable, Mapping

import numpy as np

from seedbed.evaluation.metrics import ConfusionMatrix
from seedbed.formats.levels import fractions
from seedbed.formats.palette import VOID


def background_curve(
    images: Iterable[tuple[Mapping[int, np.ndarray], np.ndarray]],
    num_classes: int,
    variant: str = "voc",
) -> tuple[np.ndarray, np.ndarray]:
    """Mean IoU of class maps at the background scores 0.00, 0.01 … 0.59.

    At each score t the masks are those of `pseudo_labels.argmax_labels(maps, t)`, where background
    wins ties; each image is read once. The best score is chosen with the ground truth: it is an
    upper bound for the maps, not a result of a weakly supervised method.

    Args:
        images: pairs of maps and truth; maps are {class id in 1..C − 1: (H, W)}, at least one
            class, uint8 levels or floating as in `argmax_labels`; truth is integer (H, W) with
            class ids and 255 = void.
        num_classes: C, including background.
        variant: of `ConfusionMatrix.miou`.

    Returns:
        The background scores (60,) and the mean IoU at each, (60,) in [0, 1]. Source: the option
        `--curve` of SEAM's evaluation.py (Wang et al., CVPR 2020).

    Raises:
        ValueError: if there is no map, shapes differ, or a class id is not below C.

    """
    thresholds = np.arange(60) / 100
    counts = np.zeros((num_classes, num_classes, len(thresholds) + 1), dtype=np.int64)
    for maps, truth in images:
        counts += _count(maps, truth, thresholds, num_classes)
    # At threshold t a pixel is foreground if its best class exceeds more than t thresholds.
    foreground = counts[..., :0:-1].cumsum(axis=-1)[..., ::-1]
    background = counts.sum(axis=(1, 2))[:, None] - foreground.sum(axis=1)
    matrix = ConfusionMatrix(num_classes)
    curve = np.empty(len(thresholds))
    for t in range(len(thresholds)):
        matrix.counts[:, :-1] = foreground[..., t]
        matrix.counts[:, 0] = background[:, t]
        curve[t] = matrix.miou(variant)
    return thresholds, curve


def _count(
    maps: Mapping[int, np.ndarray], truth: np.ndarray, thresholds: np.ndarray, num_classes: int
) -> np.ndarray:
    """Pixels of an image by true class, best class and number of thresholds that it exceeds."""
    classes, scores = _best_class(maps, num_classes)
    if truth.shape != classes.shape:
        raise ValueError(f"truth is {truth.shape}, but its maps are {classes.shape}")
    labelled = truth != VOID
    exceeded = np.searchsorted(thresholds.astype(scores.dtype), scores[labelled])
    shape = (num_classes, num_classes, len(thresholds) + 1)
    try:
        bins = np.ravel_multi_index((truth[labelled], classes[labelled], exceeded), shape)
    except ValueError as error:
        raise ValueError(f"truth has a class id that is not below {num_classes}") from error
    return np.bincount(bins, minlength=np.prod(shape)).reshape(shape)


def _best_class(maps: Mapping[int, np.ndarray], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Id and score of the best class of each pixel, (H, W) each; ties go to the lowest id."""
    ids = sorted(maps)
    if not ids or ids[0] < 1 or ids[-1] >= num_classes:
        raise ValueError(f"maps must be of classes 1..{num_classes - 1}, not {ids}")
    scores = fractions(np.stack([maps[c] for c in ids]))
    return np.array(ids)[scores.argmax(axis=0)], scores.max(axis=0)
