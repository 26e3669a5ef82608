"""Resizing of images and maps, as each of the published systems does it.

The methods differ in where the samples of the new grid lie on the old one, and in whether a map is
low-pass filtered before it shrinks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

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
    if method not in _ALONG_ROWS:
        methods = ", ".join([*_INTERPOLATE, *_ALONG_ROWS])
        raise ValueError(f"method must be one of {methods}, not {method!r}")
    resize_rows = _ALONG_ROWS[method]
    return resize_rows(resize_rows(maps, size[1]).mT, size[0]).mT


def resize_image(images: Tensor, size: tuple[int, int], method: str) -> Tensor:
    """`resize` of images in [0, 255]; "bicubic" is rounded and clamped to that range, as Pillow."""
    resized = resize(images, size, method)
    return resized.round().clamp(0, 255) if method == "bicubic" else resized


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


def _legacy_rows(maps: Tensor, length: int) -> Tensor:
    """Interpolate the last dimension linearly at i · (old length / `length`)."""
    old = maps.shape[-1]
    source = torch.arange(length, device=maps.device) * (old / length)
    left = source.long()
    right = (left + 1).clamp(max=old - 1)
    return maps[..., left].lerp(maps[..., right], (source - left).to(maps.dtype))


def _nearest_rows(maps: Tensor, length: int) -> Tensor:
    """Nearest neighbour along the last dimension, outermost samples aligned, halves rounded up."""
    step = (maps.shape[-1] - 1) / max(1, length - 1)
    source = torch.arange(length, device=maps.device, dtype=torch.float64) * step
    return maps[..., (source + 0.5).long()]


_ALONG_ROWS = {"tf_legacy": _legacy_rows, "nearest": _nearest_rows}
