"""The fully connected CRF of Krähenbühl & Koltun (NIPS 2011), solved by pydensecrf for one image.

Two Potts kernels over all pairs of pixels: a Gaussian one of position and a bilateral one of
position and colour, both normalised symmetrically, D^-1/2 K D^-1/2. A pixel's message includes
the pixel itself, as in Krähenbühl's own code, so a Gaussian kernel narrower than a pixel
strengthens whatever the pixel already believes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Self

import numpy as np
from pydensecrf.densecrf import DenseCRF2D


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


def mean_field(image: np.ndarray, unary: np.ndarray, params: CRFParameters) -> np.ndarray:
    """Approximate posterior float32 (C, H, W) of `image` uint8 (H, W, 3) and energies (C, H, W)."""
    # numpy's warning about an overflow would say less than the check that follows.
    with np.errstate(over="ignore"):
        energies = np.array(unary, dtype=np.float32, order="C")
    _check(image, energies)
    channels, height, width = energies.shape
    if channels == 1:
        return np.ones_like(energies)
    crf = DenseCRF2D(width, height, channels)
    crf.setUnaryEnergy(energies.reshape(channels, -1))
    crf.addPairwiseGaussian(sxy=params.gaussian_sxy, compat=params.gaussian_weight)
    crf.addPairwiseBilateral(
        sxy=params.bilateral_sxy,
        srgb=params.bilateral_srgb,
        rgbim=np.ascontiguousarray(image),
        compat=params.bilateral_weight,
    )
    return np.array(crf.inference(int(params.iterations)), np.float32).reshape(energies.shape)


def _check(image: np.ndarray, unary: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"image must have the shape (H, W, 3), not {image.shape}")
    if image.dtype != np.uint8:
        raise ValueError(f"image must be uint8, not {image.dtype}")
    if unary.ndim != 3 or unary.shape[0] == 0 or unary.shape[1:] != image.shape[:2]:
        raise ValueError(f"unary must have the shape (C, *{image.shape[:2]}), not {unary.shape}")
    if not np.isfinite(unary).all():
        raise ValueError("unary holds NaN or infinity; floor probabilities before the logarithm")
