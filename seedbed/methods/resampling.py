"""Resizing maps as each of the published systems does.

What differs is where the samples of the new grid lie on the old one, and whether a shrinking map
is smoothed first.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_TORCH = {
    "half_pixel": {"mode": "bilinear", "align_corners": False},
    "corner_aligned": {"mode": "bilinear", "align_corners": True},
    "antialias": {"mode": "bilinear", "align_corners": False, "antialias": True},
    "bicubic": {"mode": "bicubic", "align_corners": False, "antialias": True},
}


def resize(maps: Tensor, size: tuple[int, int], how: str) -> Tensor:
    """Maps (N, C, H, W), floating, on any device → (N, C, *size).

    Args:
        maps: what is resized; of its own size it comes back as it is.
        size: rows and columns of the result.
        how: bilinear, and its samples lie where they do in

            - "half_pixel": OpenCV and PyTorch, borders on borders;
            - "corner_aligned": SciPy's `zoom` and Caffe's Interp, outer samples on outer samples;
            - "tf_legacy": TensorFlow 1's `resize_bilinear`, sample i at i · H / size, held at the
              last one;

            or, with borders on borders, "antialias", bilinear over all that a new cell covers, and
            "bicubic", the same with Pillow's bicubic filter, which may overshoot; or "nearest":
            the nearest one where "corner_aligned" samples, as SciPy's `zoom` of order 0.

    Raises:
        ValueError: if `how` is none of these.

    """
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if how in _TORCH:
        return F.interpolate(maps, size=size, **_TORCH[how])
    if how not in _ALONG_ROWS:
        raise ValueError(f"how must be one of {', '.join([*_TORCH, *_ALONG_ROWS])}, not {how!r}")
    along = _ALONG_ROWS[how]
    return along(along(maps, size[1]).mT, size[0]).mT


def resize_image(images: Tensor, size: tuple[int, int], how: str) -> Tensor:
    """`resize` of images in [0, 255]; "bicubic" gives whole levels in that range, as Pillow."""
    resized = resize(images, size, how)
    return resized.round().clamp(0, 255) if how == "bicubic" else resized


def label_pixels(size: int, stride: int, how: str) -> Tensor:
    """Which of `size` pixels in a row give the cells of a grid of that stride their label.

    "corner_aligned": every `stride`-th from the first on, as Caffe's Interp shrinks labels;
    "tf_legacy": ⌈size / stride⌉ cells, cell i at ⌊i · size / cells⌋, as TensorFlow 1's
    `resize_nearest_neighbor`. Returns (cells,) int64.

    Raises:
        ValueError: if `how` is neither of the two.

    """
    if how == "corner_aligned":
        return torch.arange(0, size, stride)
    if how == "tf_legacy":
        cells = -(-size // stride)
        return torch.arange(cells) * size // cells
    raise ValueError(f"how must be 'corner_aligned' or 'tf_legacy', not {how!r}")


def _legacy(maps: Tensor, length: int) -> Tensor:
    """The last dimension at multiples of the ratio of its length to the new one."""
    old = maps.shape[-1]
    source = torch.arange(length, device=maps.device) * (old / length)
    left = source.long()
    right = (left + 1).clamp(max=old - 1)
    return maps[..., left].lerp(maps[..., right], (source - left).to(maps.dtype))


def _nearest(maps: Tensor, length: int) -> Tensor:
    """The last dimension with outer samples on outer samples; halves are rounded up."""
    step = (maps.shape[-1] - 1) / max(1, length - 1)
    source = torch.arange(length, device=maps.device, dtype=torch.float64) * step
    return maps[..., (source + 0.5).long()]


_ALONG_ROWS = {"tf_legacy": _legacy, "nearest": _nearest}
