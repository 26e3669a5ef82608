"""From a classifier's class maps to class activation maps.

Sources: Zhou et al., CVPR 2016 (CAM); the scales and their sum: Ahn & Kwak, CVPR 2018 (PSA).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from seedbed.methods.resampling import resize


def combine_scales(
    maps: Sequence[Tensor],
    size: tuple[int, int],
    power: float = 1.0,
    resampling: str = "half_pixel",
) -> Tensor:
    """Sum the positive parts of one image's maps at several scales, each brought to `size`.

    Each of `maps` is (K, h_i, w_i); returns (K, *size). `power` is applied before resampling: 0.5
    is the square root of PSA's VGG-16 variant. `resampling` as in `resampling.resize`.
    """
    resized = [resize(each.relu().pow(power)[None], size, resampling)[0] for each in maps]
    return torch.stack(resized).sum(dim=0)


def normalise_cam(maps: Tensor) -> Tensor:
    """Positive part of maps (…, h, w), each divided by its maximum + 1e-5: in [0, 1)."""
    positive = maps.relu()
    return positive / (positive.amax(dim=(-2, -1), keepdim=True) + 1e-5)
