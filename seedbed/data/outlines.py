"""Outlines of the regions of a mask as polygons, which drawn one over another give the mask."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage.measure import approximate_polygon, find_contours


class Outline(NamedTuple):
    """A connected region's outer outline, points (x, y) of which pixel (0, 0) covers 0 to 1."""

    value: int
    points: np.ndarray


class _Region(NamedTuple):
    """A region of one value: where it lies, its pixels there, and those with its holes filled."""

    value: int
    place: tuple[slice, slice]
    pixels: np.ndarray
    filled: np.ndarray


def outlines_of(mask: np.ndarray, *, tolerance: float) -> list[Outline]:
    """Outlines in the order in which they are to be drawn over background 0: the larger first.

    Holes are outlines of what they hold, background too, and drawn later.

    Args:
        mask: (H, W) uint8.
        tolerance: how far a simplified outline may lie from the exact one, in pixels; 0: exact.

    """
    regions = sorted(_regions(mask), key=lambda region: -np.count_nonzero(region.filled))
    canvas = np.zeros_like(mask)
    outlines = []
    for value, place, pixels, filled in regions:
        here = canvas[place]
        if value or (here[pixels] != 0).any():  # else background that nothing hides
            here[filled] = value
            outlines.append(Outline(value, _outline(filled, place, tolerance)))
    return outlines


def _regions(mask: np.ndarray) -> Iterator[_Region]:
    for value in np.unique(mask).tolist():
        labels, _ = ndimage.label(mask == value)
        for number, place in enumerate(ndimage.find_objects(labels), 1):
            pixels = labels[place] == number
            yield _Region(value, place, pixels, ndimage.binary_fill_holes(pixels))


def _outline(filled: np.ndarray, place: tuple[slice, slice], tolerance: float) -> np.ndarray:
    # Between the centres of pixels inside and outside: no centre lies on it.
    (exact,) = find_contours(np.pad(filled, 1).astype(np.float32), 0.5, fully_connected="low")
    simple = approximate_polygon(exact, tolerance)
    points = (simple if len(simple) > 3 else exact)[:-1]  # the last point is the first
    corner = [place[1].start, place[0].start]
    return points[:, ::-1] - 0.5 + corner  # padded by 1, and centres lie at .5
