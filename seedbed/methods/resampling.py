"""Resizing of images and maps, as each of the published systems does it.

The methods differ in where the samples of the new grid lie on the old one, and in whether a map is
low-pass filtered before it shrinks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from seedbed.methods.levels import PILLOW, resize_as_opencv, resize_by_pillow
from seedbed.methods.regions import Part, Region, size_of, whole_region

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
    return resize_image_part(images, whole_region(images.shape[-2:]), whole_region(size), method)


def resize_part(maps: Tensor, old: Region, new: Region, method: str) -> Tensor:
    """Resize part of a map so that the result equals that part of the whole resized map.

    They are equal up to rounding.

    Args:
        maps: (N, C, h, w) floating, rows and columns `old` of whole maps.
        old: where `maps` lie; samples that are missing are replaced by the nearest that is there.
        new: what is wanted of the whole maps resized to `size_of(new)`.
        method: of `resize`, except "antialias" and "bicubic" unless both regions are whole.

    Returns:
        (N, C, *lengths of the parts of `new`).

    Raises:
        ValueError: if `method` is none of these.

    """
    if old == new:
        return maps
    if all(part.is_whole for part in (*old, *new)):
        return resize(maps, size_of(new), method)
    if method not in _SOURCES:
        methods = ", ".join(_SOURCES)
        raise ValueError(f"method must be one of {methods} for a part of a map, not {method!r}")
    rows = _interpolate(maps.mT.contiguous(), old[1], new[1], method).mT
    return _interpolate(rows.contiguous(), old[0], new[0], method)


def resize_image_part(images: Tensor, old: Region, new: Region, method: str) -> Tensor:
    """Like `resize_part`, with the methods of `resize_image`.

    Levels may differ by one from those of the whole where Pillow resizes.
    """
    whole_levels = method == "half_pixel" or method in PILLOW
    levels = images if whole_levels or images.is_floating_point() else images.float()
    if size_of(old) == size_of(new):
        return levels[..., new[0].within(old[0]), new[1].within(old[1])]
    if method == "half_pixel":
        return resize_as_opencv(levels, old, new)
    if method in PILLOW:
        return resize_by_pillow(levels, old, new, method)
    return resize_part(levels, old, new, method)


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
    """Interpolate the last dimension but one linearly at i · (old length / `length`).

    Positions are float32, as TensorFlow 1 computes them; `_interpolate` uses float64.
    """
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


def _interpolate(maps: Tensor, old: Part, new: Part, method: str) -> Tensor:
    """Resize a part of the last dimension but one linearly."""
    samples = torch.arange(new.first, new.end, dtype=torch.float64)
    source = _SOURCES[method](samples, old.whole, new.whole).clamp(0, old.whole - 1)
    source = (source - old.first).clamp(0, old.length - 1).to(maps.device)
    above = source.long()
    below = (above + 1).clamp(max=old.length - 1)
    share = (source - above).to(maps.dtype)[:, None]
    return maps.index_select(-2, above).lerp(maps.index_select(-2, below), share)


def _corner_aligned(samples: Tensor, old: int, new: int) -> Tensor:
    return samples * ((old - 1) / max(1, new - 1))


# Where samples of the new axis lie on the old one, given both lengths.
_SOURCES = {
    "half_pixel": lambda samples, old, new: (samples + 0.5) * (old / new) - 0.5,
    "corner_aligned": _corner_aligned,
    "tf_legacy": lambda samples, old, new: samples * (old / new),
    "nearest": lambda samples, old, new: (_corner_aligned(samples, old, new) + 0.5).floor(),
}
_ALONG_COLUMNS = {"tf_legacy": _legacy, "nearest": _nearest}
