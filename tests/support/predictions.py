"""Predictions in a map file, from probabilities that are easy to read in a test."""

from collections.abc import Sequence

import numpy as np

from seedbed.formats.maps import LOG_PROBABILITIES, MapWriter


def logarithms(probabilities: Sequence | np.ndarray) -> np.ndarray:
    """What is stored of probabilities of any shape; −∞ of 0."""
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probabilities, np.float32)).astype(np.float16)


def put_probabilities(
    maps: MapWriter,
    image_id: str,
    probabilities: Sequence | np.ndarray,
    classes: Sequence[int],
    **attributes: object,
) -> None:
    """Store the probabilities (C', H, W) of an image as the stage `predict` does."""
    about = {"classes": list(classes), "values": LOG_PROBABILITIES, **attributes}
    maps.put(image_id, logarithms(probabilities), **about)
