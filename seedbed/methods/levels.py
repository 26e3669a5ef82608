"""Resizing of 8-bit images to whole levels, by OpenCV's arithmetic and by Pillow."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seedbed.methods.regions import Part, Region

_ONE = 2048  # OpenCV's fixed-point weights have 11 bits after the point
PILLOW = {"antialias": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def resize_as_opencv(images: Tensor, old: Region, new: Region) -> Tensor:
    """Resize images as OpenCV's `resize` does 8-bit images by default (INTER_LINEAR).

    Equal to OpenCV 4.11 and 5.0 to the level. One level in eight is one away from the rounded value
    of an exact bilinear interpolation, because of the weights' precision and of what is cut off
    after each of the two steps.

    Args:
        images: whole levels in [0, 255], any dtype, (..., H, W).
        old: the part of an image that `images` are.
        new: the part of the resized image that is wanted.

    Returns:
        (..., rows, columns), of the dtype of `images`.

    """
    levels = images.int().mT.contiguous()  # selecting is fast along the last dimension but one
    left, weight, other = _weights(old[1], new[1], levels.device)
    # OpenCV takes the outermost column itself, but interpolates between two copies of the
    # outermost row, which cuts off twice.
    beyond = (left < 0) | (left >= old[1].whole - 1)
    weight, other = weight.masked_fill(beyond, _ONE), other.masked_fill(beyond, 0)
    rows = _blend(levels, left - old[1].first, weight, other, shift=0).bitwise_right_shift_(4)
    top, weight, other = _weights(old[0], new[0], levels.device)
    blended = _blend(rows.mT.contiguous(), top - old[0].first, weight, other, shift=16)
    return blended.add_(2).bitwise_right_shift_(2).to(images.dtype)


def _weights(old: Part, new: Part, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each sample the pixel before it, from -1, its weight and that of the next."""
    centres = torch.arange(new.first, new.end, dtype=torch.float64, device=device) + 0.5
    places = (centres * (1 / (new.whole / old.whole)) - 0.5).float()
    before = places.floor()
    share = places - before
    return before.long(), ((1 - share) * _ONE).round().int(), (share * _ONE).round().int()


def _blend(levels: Tensor, before: Tensor, weight: Tensor, other: Tensor, *, shift: int) -> Tensor:
    """Weighted sums of neighbours, in the last dimension but one, of products shifted right."""
    last = levels.shape[-2] - 1
    first = levels.index_select(-2, before.clamp(0, last)).mul_(weight[:, None])
    second = levels.index_select(-2, (before + 1).clamp(0, last)).mul_(other[:, None])
    return first.bitwise_right_shift_(shift).add_(second.bitwise_right_shift_(shift))


def resize_by_pillow(images: Tensor, old: Region, new: Region, method: str) -> Tensor:
    """Resize images by Pillow, on the CPU.

    Args:
        images: whole levels in [0, 255], any dtype, (N, 3, H, W).
        old: the part of an image that `images` are.
        new: the part of the resized image that is wanted.
        method: "antialias" for Pillow's BILINEAR or "bicubic".

    Returns:
        (N, 3, rows, columns), of the dtype and on the device of `images`.

    """
    levels = images.to("cpu", torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    (top, bottom), (left, right) = (_bounds(*parts) for parts in zip(old, new, strict=True))
    size, box = (new[1].length, new[0].length), (left, top, right, bottom)
    resized = [Image.fromarray(image).resize(size, PILLOW[method], box) for image in levels]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).to(images)


def _bounds(old: Part, new: Part) -> tuple[float, float]:
    """Where the wanted part begins and ends in the part that is there."""
    ratio = old.whole / new.whole
    return max(0.0, new.first * ratio - old.first), min(new.end * ratio - old.first, old.length)
