"""Per-class maps of one image as arrays."""

from collections.abc import Mapping

import numpy as np

from seedbed.formats.palette import VOID


def stack_class_maps(
    maps: Mapping[int, np.ndarray], shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Stack {class id: map of `shape`} in ascending order of ids.

    Returns:
        The class ids (1 + K,) uint8, background's 0 first, and the K maps, (K, *shape), of the
        dtype that holds all of them (float64 if there is none).

    Raises:
        ValueError: if an id is outside 1..254 or a map has another shape.

    """
    ids = sorted(maps)
    if not all(0 < c < VOID for c in ids):
        raise ValueError(f"class ids must be in 1..{VOID - 1}, not {ids}")
    for c in ids:
        if maps[c].shape != shape:
            raise ValueError(f"the map of class {c} must be {shape}, not {maps[c].shape}")
    stacked = np.array([maps[c] for c in ids]).reshape(-1, *shape)
    return np.array([0, *ids], dtype=np.uint8), stacked
