"""The functions of `pydensecrf.utils`: unary energies, and features of pairwise kernels."""

from collections.abc import Sequence
from numbers import Real

import numpy as np

from seedbed.crf.dense import unary_from_probabilities


def unary_from_labels(
    labels: np.ndarray, n_labels: int, gt_prob: float, zero_unsure: bool = True
) -> np.ndarray:
    """Unary energies float32 (n_labels, pixels) of an annotation, as in pydensecrf.utils.

    Args:
        labels: integers of any shape: 0 to n_labels − 1, or with `zero_unsure` 0 to n_labels.
        n_labels: number of labels; with `zero_unsure` 0 is not one of them.
        gt_prob: probability in (0, 1) that a pixel's label is right.
        zero_unsure: whether 0 means unknown; such pixels have the same energy for all labels.

    """
    if not 0 < gt_prob < 1:
        raise ValueError(f"gt_prob must lie between 0 and 1, not {gt_prob}")
    labels = np.asarray(labels).ravel()
    probabilities = np.full((n_labels, labels.size), (1 - gt_prob) / (n_labels - 1))
    probabilities[labels - 1 if zero_unsure else labels, np.arange(labels.size)] = gt_prob
    if zero_unsure:
        probabilities[:, labels == 0] = 1 / n_labels
    return -np.log(probabilities).astype(np.float32)


def unary_from_softmax(
    sm: np.ndarray, scale: float | None = None, clip: float | None = 1e-5
) -> np.ndarray:
    """Unary energies float32 (C, pixels) of probabilities, as in pydensecrf.utils.

    Args:
        sm: probabilities (C, …).
        scale: weight in (0, 1] of the probabilities in a mixture with the uniform distribution;
            None: no mixture.
        clip: smallest probability that the logarithm is taken of; None: no limit.

    """
    if scale is not None:
        if not 0 < scale <= 1:
            raise ValueError(f"scale must lie in (0, 1], not {scale}")
        sm = scale * sm + (1 - scale) / len(sm)
    energies = -np.log(sm) if clip is None else unary_from_probabilities(sm, clip)
    return energies.reshape(len(sm), -1).astype(np.float32)


def create_pairwise_gaussian(sdims: Sequence[float], shape: Sequence[int]) -> np.ndarray:
    """Features of a kernel of position, for `addPairwiseEnergy`: float32 (D, points).

    Args:
        sdims: standard deviation along each of the D axes, in points.
        shape: number of points along each axis.

    """
    return _positions(sdims, shape).reshape(len(sdims), -1)


def create_pairwise_bilateral(
    sdims: Sequence[float],
    schan: float | Sequence[float],
    img: np.ndarray,
    chdim: int = -1,
) -> np.ndarray:
    """Features of a kernel of position and value, for `addPairwiseEnergy`: float32 (D + C, points).

    Args:
        sdims: standard deviation along each of the D axes, in points.
        schan: standard deviation of the values, one for all channels or one for each.
        img: values of D axes and, at the axis `chdim`, C channels.
        chdim: axis of the channels; −1: there is none, and C is 1. The last axis must be named by
            its number from 0, as in pydensecrf.

    """
    channels = (img[None] if chdim == -1 else np.moveaxis(img, chdim, 0)).astype(np.float32)
    shape = (len(channels),) + (1,) * (channels.ndim - 1)
    if not isinstance(schan, Real):
        if len(schan) != len(channels):
            raise ValueError(f"schan has {len(schan)} values for {len(channels)} channels")
        schan = np.reshape(np.asarray(schan, np.float32), shape)
    features = [_positions(sdims, channels.shape[1:]), channels / np.float32(schan)]
    return np.concatenate(features).reshape(len(sdims) + len(channels), -1)


def _positions(sdims: Sequence[float], shape: Sequence[int]) -> np.ndarray:
    """Coordinates of all points, each divided by its axis's standard deviation: (D, *shape)."""
    if len(sdims) != len(shape):
        raise ValueError(f"sdims has {len(sdims)} values for {len(shape)} axes")
    scale = np.asarray(sdims, np.float32).reshape(-1, *(1,) * len(shape))
    return np.indices(shape, dtype=np.float32) / scale
