"""Resizing to whole levels, against values of OpenCV 4.11 and 5.0, and against Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.methods.resampling import resize, resize_image

torch.set_num_threads(1)

PATCH = [[0, 255, 90], [200, 13, 77]]
ROW = [[0, 10, 40, 90, 160, 250, 104, 234]]


def images(levels):
    return torch.tensor(levels).float().expand(1, 3, -1, -1)


@pytest.mark.parametrize(
    ("levels", "opencv"),
    [
        (PATCH, [[108, 96]]),
        (PATCH, [[0, 102, 255, 156, 90], [100, 113, 134, 103, 84], [200, 125, 13, 51, 77]]),
        (
            PATCH,
            [
                [0, 36, 145, 255, 184, 114, 90],
                [20, 50, 140, 231, 170, 109, 88],
                [100, 105, 119, 134, 112, 91, 84],
                [180, 159, 98, 37, 55, 72, 78],
                [200, 173, 93, 13, 40, 68, 77],
            ],
        ),
        (ROW, [[8, 125, 126]]),
        (ROW, [[3, 37, 125, 235, 195]]),
        (list(zip(*ROW, strict=True)), [[3], [37], [125], [235], [195]]),
    ],
)
def test_half_pixel_gives_opencvs_levels(levels, opencv):
    size = len(opencv), len(opencv[0])
    found = resize_image(images(levels), size, "half_pixel")
    assert found.dtype == torch.float32 and found.shape == (1, 3, *size)
    assert found[0, 1].tolist() == opencv
    whole = resize_image(images(levels).byte(), size, "half_pixel")
    assert torch.equal(whole, found.byte())


def test_opencvs_levels_are_not_those_of_exact_interpolation():
    noise = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 3, 75, 100), np.uint8))
    exact = resize(noise.double(), (64, 64), "half_pixel")
    gap = resize_image(noise, (64, 64), "half_pixel") - exact
    assert gap.abs().max() < 1.01
    assert 0.1 < (gap.abs() > 0.5).double().mean() < 0.15


@pytest.mark.parametrize("size", [(20, 31), (5, 6), (9, 5), (30, 9)])
@pytest.mark.parametrize(
    ("method", "filters"),
    [("antialias", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)],
)
def test_antialias_and_bicubic_give_pillows_levels(size, method, filters):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 9, 14, 3), np.uint8)
    expected = [np.asarray(Image.fromarray(image).resize(size[::-1], filters)) for image in pixels]
    levels = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    for dtype in (torch.uint8, torch.float32):
        found = resize_image(levels.to(dtype), size, method)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.permute(0, 2, 3, 1), expected)


@pytest.mark.parametrize("method", ["corner_aligned", "tf_legacy"])
def test_methods_of_floating_point_programs_keep_fractions(method):
    levels = images(PATCH).byte()
    found = resize_image(levels, (2, 4), method)
    assert torch.equal(found, resize(levels.float(), (2, 4), method))
    assert not torch.equal(found, found.round())
