"""Parameters of the dense CRF."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Self


@dataclass(frozen=True)
class CRFParameters:
    """Number of mean-field iterations, weight and standard deviations of both kernels, stride.

    Attributes:
        iterations: a whole number, 0 or more.
        gaussian_weight: Potts weight of the kernel of position, 0 or more.
        gaussian_sxy: its standard deviation in pixels, above 0.
        bilateral_weight: Potts weight of the kernel of position and colour, 0 or more.
        bilateral_sxy: its standard deviation of position in pixels, above 0.
        bilateral_srgb: its standard deviation of colour, in levels of 0 to 255, above 0.
        stride: a whole number, 1 or more. With s above 1 only the pixels of every s-th row and
            column, the first ones included, send messages; every pixel receives them. Both kernels
            K are sums over the senders, and so are the row sums D that normalise them: pixel i
            receives from sender j the weight times K_ij / (D_i D_j)^1/2. At most either standard
            deviation of position, so that the pixels between are near a sender.

    Raises:
        ValueError: a value is not a finite number or out of its range.

    """

    iterations: int
    gaussian_weight: float
    gaussian_sxy: float
    bilateral_weight: float
    bilateral_sxy: float
    bilateral_srgb: float
    stride: int = 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not isinstance(value, Real) or not math.isfinite(value) or value < 0:
                raise ValueError(f"{name} must be a finite number, 0 or more, not {value!r}")
            if value == 0 and name.endswith(("sxy", "srgb")):
                raise ValueError(f"{name} must be greater than 0")
        if self.iterations != int(self.iterations):
            raise ValueError(f"iterations must be a whole number, not {self.iterations}")
        if self.stride < 1 or self.stride != int(self.stride):
            raise ValueError(f"stride must be a whole number, 1 or more, not {self.stride}")
        if self.stride > 1 and self.stride > min(self.gaussian_sxy, self.bilateral_sxy):
            raise ValueError(
                f"stride {self.stride} must not exceed gaussian_sxy and bilateral_sxy "
                f"({self.gaussian_sxy:g} and {self.bilateral_sxy:g} pixels)"
            )

    @classmethod
    def from_mapping(cls, params: Mapping[str, float]) -> Self:
        """Build the parameters from a mapping; ValueError for an unknown or missing name.

        Only `stride` may be missing.
        """
        names = {field.name for field in fields(cls)}
        if wrong := sorted((names ^ set(params)) - ({"stride"} - set(params))):
            raise ValueError(f"params: unknown or missing {', '.join(wrong)}")
        return cls(**params)

    def extents(self, height: int, width: int) -> tuple[list[float], list[float]]:
        """Largest features of the Gaussian (x, y) and the bilateral kernel (x, y, r, g, b)."""
        position = [width - 1, height - 1]
        gaussian = [extent / self.gaussian_sxy for extent in position]
        bilateral = [extent / self.bilateral_sxy for extent in position]
        return gaussian, bilateral + [255 / self.bilateral_srgb] * 3
