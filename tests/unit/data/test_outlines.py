"""Outlines drawn one over another give the mask, holes and nested regions included."""

import numpy as np
import pytest
from scipy import ndimage

from seedbed.data.layouts.regions import region_of
from seedbed.data.outlines import outlines_of


def drawn(outlines, size):
    mask = np.zeros(size, np.uint8)
    for value, points in outlines:
        mask[region_of([points.ravel()], size)] = value
    return mask


def blobs(seed, size, smooth):
    """Regions of 0, 1, 2 and 255 in one another, from single pixels to large ones."""
    noise = np.random.default_rng(seed).random((4, *size))
    return np.uint8([0, 1, 2, 255])[ndimage.gaussian_filter(noise, (0, smooth, smooth)).argmax(0)]


@pytest.mark.parametrize("smooth", [0, 1, 3])
def test_exact_outlines_give_the_mask(smooth):
    for seed in range(5):
        mask = blobs(seed, (30, 41), smooth)
        np.testing.assert_array_equal(drawn(outlines_of(mask, tolerance=0), mask.shape), mask)


def test_holes_and_rings():
    mask = np.zeros((20, 20), np.uint8)
    mask[2:18, 2:18] = 1
    mask[5:15, 5:15] = 0  # a hole
    mask[8:12, 8:12] = 2  # and what is in it
    outlines = outlines_of(mask, tolerance=0)
    assert [value for value, _ in outlines] == [1, 0, 2]
    np.testing.assert_array_equal(drawn(outlines, mask.shape), mask)
    assert outlines_of(mask * 0, tolerance=0) == []
    ((value, points),) = outlines_of(mask * 0 + 3, tolerance=0)
    assert value == 3 and points.min() == 0 and points.max() == 20


def test_simplified_outlines_have_few_points_and_stay_close():
    mask = blobs(0, (200, 260), 12)
    exact, simple = outlines_of(mask, tolerance=0), outlines_of(mask, tolerance=1)
    assert sum(len(o.points) for o in simple) < sum(len(o.points) for o in exact) / 4
    wrong = drawn(simple, mask.shape) != mask
    inner = ndimage.generic_filter(mask, np.ptp, size=5, mode="constant", cval=99) == 0
    assert wrong.mean() < 0.03 and not wrong[inner].any(), "only beside an edge"
