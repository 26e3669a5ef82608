"""The classes of `pydensecrf.densecrf`.

Arg max and posterior agree with pydensecrf's but for rounding. Every kernel is Potts and normalised
symmetrically; anything else that pydensecrf offers ends in a ValueError.
"""

from collections.abc import Sequence

import numpy as np

from seedbed.crf.dense import dense_crf
from seedbed.crf.pydensecrf.arguments import (
    CONST_KERNEL,
    DIAG_KERNEL,
    FULL_KERNEL,
    NO_NORMALIZATION,
    NORMALIZE_AFTER,
    NORMALIZE_BEFORE,
    NORMALIZE_SYMMETRIC,
    check_array,
    check_kernel,
    potts_weight,
    standard_deviations,
)
from seedbed.crf.pydensecrf.general import DenseCRF

__all__ = [
    "CONST_KERNEL",
    "DIAG_KERNEL",
    "FULL_KERNEL",
    "NORMALIZE_AFTER",
    "NORMALIZE_BEFORE",
    "NORMALIZE_SYMMETRIC",
    "NO_NORMALIZATION",
    "DenseCRF",
    "DenseCRF2D",
]


class DenseCRF2D(DenseCRF):
    """Fully connected CRF of an image's pixels.

    With at most one Gaussian and one bilateral kernel, whose standard deviations are the same for
    both axes and for all colours, `inference` is that of `seedbed.dense_crf`, in C++ where it is
    built; any other kernels are solved with tensors.

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        nlabels: number of labels.

    """

    def __init__(self, width: int, height: int, nlabels: int) -> None:
        super().__init__(width * height, nlabels)
        self._size = height, width
        self._image = np.zeros((height, width, 3), np.uint8)
        # Of `dense_crf`, by the kernel that they describe; None: it cannot describe them all.
        self._params: dict[str, dict[str, float]] | None = {}

    def addPairwiseEnergy(  # noqa: N802, D102 - as in the base class
        self,
        features: np.ndarray,
        compat: float,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        super().addPairwiseEnergy(features, compat, kernel, normalization)
        self._params = None

    def addPairwiseGaussian(  # noqa: N802 - pydensecrf's name
        self,
        sxy: float | Sequence[float],
        compat: float,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Add a kernel of position.

        Args:
            sxy: standard deviation in pixels, or that of x and that of y.
            compat: weight of the Potts model, 0 or more.
            kernel: one of pydensecrf's; they differ only in learning, which neither offers.
            normalization: NORMALIZE_SYMMETRIC.

        """
        check_kernel(kernel, normalization)
        weight, deviations = potts_weight(compat), standard_deviations("sxy", sxy, 2)
        self._add(self._positions(deviations), weight)
        params = {"gaussian_weight": weight, "gaussian_sxy": deviations[0]}
        self._describe("gaussian", len(set(deviations)) == 1, params)

    def addPairwiseBilateral(  # noqa: N802 - pydensecrf's name
        self,
        sxy: float | Sequence[float],
        srgb: float | Sequence[float],
        rgbim: np.ndarray,
        compat: float,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Add a kernel of position and colour.

        Args:
            sxy: as in `addPairwiseGaussian`.
            srgb: standard deviation in colour levels of 0 to 255, or that of each channel.
            rgbim: the image, uint8 (height, width, 3), C-contiguous; the order of its channels
                matters as in pydensecrf, see `dense_crf`.
            compat: as in `addPairwiseGaussian`.
            kernel: as in `addPairwiseGaussian`.
            normalization: as in `addPairwiseGaussian`.

        """
        check_kernel(kernel, normalization)
        check_array("rgbim", rgbim, np.uint8, (*self._size, 3))
        weight, deviations = potts_weight(compat), standard_deviations("sxy", sxy, 2)
        colours = standard_deviations("srgb", srgb, 3)
        channels = rgbim.reshape(-1, 3).T / np.float32(colours)[:, None]
        self._add(np.concatenate([self._positions(deviations), channels]), weight)
        params = {
            "bilateral_weight": weight,
            "bilateral_sxy": deviations[0],
            "bilateral_srgb": colours[0],
        }
        same = len(set(deviations)) == len(set(colours)) == 1
        self._describe("bilateral", same, params)
        self._image = rgbim.copy()

    def inference(self, n_iterations: int) -> np.ndarray:
        """Posterior float32 (nlabels, height · width), see `DenseCRF.inference`."""
        if self._params is None:
            return super().inference(n_iterations)
        absent = {
            "gaussian": {"gaussian_weight": 0.0, "gaussian_sxy": 1.0},
            "bilateral": {
                "bilateral_weight": 0.0,
                "bilateral_sxy": 1.0,
                "bilateral_srgb": 1.0,
            },
        }
        params: dict[str, float] = {"iterations": n_iterations}
        for described in (absent | self._params).values():
            params |= described
        unary = self._energies().reshape(self._labels, *self._size)
        return dense_crf(self._image, unary, params).reshape(self._labels, -1)

    def _positions(self, deviations: Sequence[float]) -> np.ndarray:
        """Coordinates x and y of all pixels by the standard deviations, float32 (2, points)."""
        rows, columns = np.indices(self._size, dtype=np.float32)
        scale = np.float32(deviations)[:, None]
        return np.stack([columns, rows]).reshape(2, -1) / scale

    def _describe(self, kind: str, same: bool, params: dict[str, float]) -> None:
        """Take a kernel's parameters for `dense_crf`, if it has such a kernel and this is one."""
        if self._params is None or not same or kind in self._params:
            self._params = None
        else:
            self._params[kind] = params
