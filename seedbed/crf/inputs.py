"""Conversion and checks of the images and unary energies that every backend takes."""

import math
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike
from torch import Tensor

from seedbed.crf.lattice import vertex_keys
from seedbed.crf.parameters import CRFParameters

Array = TypeVar("Array", np.ndarray, Tensor)


def to_numpy(array: Array, dtype: DTypeLike = None) -> np.ndarray:
    """C-contiguous array of an array or a tensor on any device; half precision becomes float32.

    What `dtype` cannot represent becomes infinite without a warning: `check_inputs` refuses it.
    """
    if isinstance(array, Tensor):
        array = array.detach().cpu()
        array = (array.float() if array.is_floating_point() else array).numpy()
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=dtype)


def check_inputs(image: Array, unary: Array, params: CRFParameters, batch: int = 1) -> None:
    """Raise ValueError for an image, energies or standard deviations that the CRF cannot take.

    Args:
        image: uint8 (H, W, 3), or a batch (N, H, W, 3).
        unary: energies (C, H, W), or a batch (N, C, H, W).
        params: the standard deviations bound the size of the image.
        batch: number of images that are solved at once.

    """
    check_shapes(image, unary, params, batch)
    # An energy that is not finite shows in the minimum or maximum, which are fast to compute.
    if not (math.isfinite(unary.min()) and math.isfinite(unary.max())):
        raise ValueError("unary holds NaN or infinity; floor probabilities before the logarithm")


def check_shapes(image: Array, unary: Array, params: CRFParameters, batch: int = 1) -> None:
    """Do the checks of `check_inputs` that need no value of the energies, and so no waiting."""
    if image.ndim < 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"image must have the shape (H, W, 3), not {tuple(image.shape)}")
    if str(image.dtype).removeprefix("torch.") != "uint8":
        raise ValueError(f"image must be uint8, not {image.dtype}")
    size = tuple(image.shape[-3:-1])
    if unary.ndim != image.ndim or unary.shape[-3] == 0 or tuple(unary.shape[-2:]) != size:
        wanted = f"(C, {size[0]}, {size[1]})"
        raise ValueError(f"unary must have the shape {wanted}, not {tuple(unary.shape)}")
    for kernel, extents in zip(("gaussian", "bilateral"), params.extents(*size), strict=True):
        try:
            vertex_keys(extents, batch)
        except OverflowError as error:
            message = f"{kernel}_s… must be greater for an image of {size[0]} × {size[1]} pixels"
            raise ValueError(message) from error
