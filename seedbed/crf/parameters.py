"""Parameters of the CRF, and the checks that every backend's inputs pass."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Self

import numpy as np
from torch import Tensor

from seedbed.crf.lattice import vertex_keys


@dataclass(frozen=True)
class CRFParameters:
    """Mean-field iterations, kernel weights and standard deviations (pixels; colour levels)."""

    iterations: int
    gaussian_weight: float
    gaussian_sxy: float
    bilateral_weight: float
    bilateral_sxy: float
    bilateral_srgb: float

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} must be a finite number, 0 or more, not {value!r}")
            if value == 0 and name.endswith(("sxy", "srgb")):
                raise ValueError(f"{name} must be greater than 0")
        if self.iterations != int(self.iterations):
            raise ValueError(f"iterations must be a whole number, not {self.iterations}")

    @classmethod
    def from_mapping(cls, params: Mapping[str, float]) -> Self:
        """Check the names and the values; ValueError names what is wrong."""
        known = {field.name for field in fields(cls)}
        if wrong := sorted(known ^ set(params)):
            raise ValueError(f"params: unknown or missing {', '.join(wrong)}")
        return cls(**params)

    def extents(self, height: int, width: int) -> tuple[list[float], list[float]]:
        """Largest features of both kernels' points: x and y, for the bilateral colours as well."""
        place = [width - 1, height - 1]
        far = [span / self.bilateral_sxy for span in place] + [255 / self.bilateral_srgb] * 3
        return [span / self.gaussian_sxy for span in place], far


def check(
    image: np.ndarray | Tensor, unary: np.ndarray | Tensor, params: CRFParameters, batch: int = 1
) -> None:
    """Refuse one image (H, W, 3), or a batch of them (…, H, W, 3), that the CRF cannot work on."""
    if image.ndim < 3 or image.shape[-1] != 3 or 0 in image.shape:
        raise ValueError(f"image must have the shape (H, W, 3), not {tuple(image.shape)}")
    if str(image.dtype).removeprefix("torch.") != "uint8":
        raise ValueError(f"image must be uint8, not {image.dtype}")
    size = tuple(image.shape[-3:-1])
    if unary.ndim != image.ndim or unary.shape[-3] == 0 or tuple(unary.shape[-2:]) != size:
        raise ValueError(f"unary must have the shape (C, *{size}), not {tuple(unary.shape)}")
    # The extremes are NaN or infinite if any energy is, and cheaper than a mask of all of them.
    if not (math.isfinite(unary.min()) and math.isfinite(unary.max())):
        raise ValueError("unary holds NaN or infinity; floor probabilities before the logarithm")
    for kernel, extents in zip(("gaussian", "bilateral"), params.extents(*size), strict=True):
        try:
            vertex_keys(extents, batch)
        except OverflowError as error:
            message = f"{kernel}_s… must be greater for an image of {size[0]} × {size[1]} pixels"
            raise ValueError(message) from error
