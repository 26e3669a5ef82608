"""Resizing of images and maps, as each of the published systems does it.

The methods differ in where the samples of the new grid lie on the old one, and in whether a map is
low-pass filtered before it shrinks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from seedbed.methods.levels import PILLOW, resize_as_opencv, resize_by_pillow

_INTERPOLATE = {
    "half_pixel": {"mode": "bilinear", "align_corners": False},
    "corner_aligned": {"mode": "bilinear", "align_corners": True},
    "antialias": {"mode": "bilinear", "align_corners": False, "antialias": True},
    "bicubic": {"mode": "bicubic", "align_corners": False, "antialias": True},
}


def resize(maps: Tensor, size: tuple[int, int], method: str) -> Tensor:
    """Resize maps (N, C, H, W), floating, on any device, to (N, C, *size).

    Args:
        maps: returned as they are if they already have that size.
        size: (rows, columns) of the result.
        method: one of

            - "half_pixel": bilinear, pixel centres at half-integers: OpenCV, PyTorch with
              `align_corners=False`;
            - "corner_aligned": bilinear, the outermost samples coincide: `scipy.ndimage.zoom` of
              order 1, Caffe's Interp layer, PyTorch with `align_corners=True`;
            - "tf_legacy": bilinear, sample i at i · H / size: TensorFlow 1's `resize_bilinear`;
            - "antialias": "half_pixel" with a triangle filter when shrinking: Pillow's BILINEAR;
            - "bicubic": Pillow's BICUBIC, which may overshoot;
            - "nearest": nearest neighbour of the "corner_aligned" samples: `zoom` of order 0.

    Raises:
        ValueError: if `method` is none of these.

    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if method in _INTERPOLATE:
        return F.interpolate(maps, size=size, **_INTERPOLATE[method])
    if method not in _ALONG_COLUMNS:
        methods = ", ".join([*_INTERPOLATE, *_ALONG_COLUMNS])
        raise ValueError(f"method must be one of {methods}, not {method!r}")
    resize_columns = _ALONG_COLUMNS[method]  # faster than along rows, transposing included
    rows = resize_columns(maps.mT.contiguous(), size[1]).mT
    return resize_columns(rows.contiguous(), size[0])


def resize_image(images: Tensor, size: tuple[int, int], method: str) -> Tensor:
    """Resize 8-bit images (N, 3, H, W) of whole levels in [0, 255] to (N, 3, *size).

    method: of `resize`. "half_pixel" gives whole levels, those of OpenCV, "antialias" and "bicubic"
    those of Pillow, of the dtype of `images`. The others give fractions, floating, because SciPy's
    and TensorFlow 1's are computed from floating-point images.
    """
    if method == "half_pixel":
        return resize_as_opencv(images, size)
    if method in PILLOW:
        return resize_by_pillow(images, size, method)
    return resize(images if images.is_floating_point() else images.float(), size, method)


def label_pixels(size: int, stride: int, method: str) -> Tensor:
    """Positions, of `size` pixels in a row, whose labels supervise a grid of stride `stride`.

    Args:
        size: pixels in the row.
        stride: pixels per grid cell.
        method: "corner_aligned" takes every `stride`-th pixel from the first, as Caffe's Interp
            layer does with labels; "tf_legacy" takes pixel ⌊i · size / cells⌋ for each of the
            ⌈size / stride⌉ cells i, as TensorFlow 1's `resize_nearest_neighbor`.

    Returns:
        (cells,) int64.

    Raises:
        ValueError: if `method` is neither of the two.

    """
    if method == "corner_aligned":
        return torch.arange(0, size, stride)
    if method == "tf_legacy":
        cells = -(-size // stride)
        return torch.arange(cells) * size // cells
    raise ValueError(f"method must be 'corner_aligned' or 'tf_legacy', not {method!r}")


def _legacy(maps: Tensor, length: int) -> Tensor:
    """Interpolate the last dimension but one linearly at i · (old length / `length`)."""
    old = maps.shape[-2]
    source = torch.arange(length, device=maps.device) * (old / length)
    above = source.long()
    below = (above + 1).clamp(max=old - 1)
    share = (source - above).to(maps.dtype)[:, None]
    return maps.index_select(-2, above).lerp(maps.index_select(-2, below), share)


def _nearest(maps: Tensor, length: int) -> Tensor:
    """Nearest neighbour in the last dimension but one, outermost samples aligned, halves up."""
    step = (maps.shape[-2] - 1) / max(1, length - 1)
    source = torch.arange(length, device=maps.device, dtype=torch.float64) * step
    return maps.index_select(-2, (source + 0.5).long())


_ALONG_COLUMNS = {"tf_legacy": _legacy, "nearest": _nearest}
