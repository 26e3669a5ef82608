"""Class activation maps (CAM) from the class maps of a classifier.

Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016. The fusion of
scales and the normalisation follow PSA (Ahn & Kwak, CVPR 2018; infer_cls.py of its code).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from seedbed.methods.resampling import resize


def combine_scales(
    maps: Sequence[Tensor], size: tuple[int, int], *, power: float, resampling: str
) -> Tensor:
    """Sum the positive parts of an image's class maps over scales, resized to `size`.

    Args:
        maps: one (K, h_i, w_i) floating tensor per scale, class scores of any sign.
        size: (H, W) of the result.
        power: exponent of the positive parts, applied before resizing. PSA takes 0.5 for
            VGG-16, 1 for ResNet-38.
        resampling: method of `seedbed.methods.resampling.resize`.

    Returns:
        (K, H, W), not negative, not normalised.

    """
    resized = [resize(scale.relu().pow(power)[None], size, resampling)[0] for scale in maps]
    return torch.stack(resized).sum(dim=0)


def normalise_cam(maps: Tensor) -> Tensor:
    """Divide the positive part of each map by its maximum + 1e-5: (…, h, w) → (…, h, w) in [0, 1).

    Source: PSA, infer_cls.py.
    """
    positive = maps.relu()
    return positive / (positive.amax(dim=(-2, -1), keepdim=True) + 1e-5)
