"""PSA's pseudo labels: the class of the highest score (infer_aff.py of the authors' code)."""

from collections.abc import Mapping

import numpy as np

from seedbed.formats.levels import fractions
from seedbed.methods.class_maps import stack_class_maps


def argmax_labels(
    scores: Mapping[int, np.ndarray], background_score: float | np.ndarray
) -> np.ndarray:
    """Label each pixel with the class of the highest score, background included.

    Args:
        scores: class id (1..254) → (H, W) map; at least one. uint8 maps are levels of 0..255 for
            [0, 1] and compared exactly, floating ones in their own precision, as in PSA.
        background_score: one score for all pixels, or an (H, W) map. PSA: 0.2 for CAMs in [0, 1]
            (`--out_cam_pred`), the background map after its random walk.

    Returns:
        (H, W) uint8 class ids, never void. Ties go to the lowest id, background first.

    Raises:
        ValueError: if there is no map, or if an id or a shape does not fit.

    """
    if not scores:
        raise ValueError("scores must hold at least one map")
    shape = next(iter(scores.values())).shape
    ids, maps = stack_class_maps(scores, shape)
    if np.shape(background_score) not in ((), shape):
        raise ValueError(f"background_score must be {shape}, not {np.shape(background_score)}")
    maps = fractions(maps)
    background = fractions(np.asarray(background_score)).astype(maps.dtype)
    background = np.broadcast_to(background, (1, *shape))
    return ids[np.concatenate([background, maps]).argmax(axis=0)]
