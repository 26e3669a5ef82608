"""The interface of pydensecrf on Seedbed's dense CRF.

Code written for pydensecrf runs with `import seedbed.crf.densecrf2d as dcrf` in place of
`import pydensecrf.densecrf as dcrf`; this module also has the unary functions of
`pydensecrf.utils`. Source: https://github.com/lucasb-eyer/pydensecrf.
"""

from collections.abc import Sequence
from numbers import Real

import numpy as np

from seedbed.crf.dense import dense_crf, unary_from_probabilities

CONST_KERNEL, DIAG_KERNEL, FULL_KERNEL = range(3)
NO_NORMALIZATION, NORMALIZE_BEFORE, NORMALIZE_AFTER, NORMALIZE_SYMMETRIC = range(4)


class DenseCRF2D:
    """pydensecrf's `DenseCRF2D`: arg max and posterior agree with it but for rounding.

    One Gaussian and one bilateral kernel at most, each Potts, normalised symmetrically and with
    one standard deviation for both axes (one for all colours). Anything else that pydensecrf
    offers ends in a ValueError.

    Args:
        width: of the image, in pixels.
        height: of the image, in pixels.
        nlabels: number of labels.

    """

    def __init__(self, width: int, height: int, nlabels: int) -> None:
        self._shape = nlabels, height, width
        self._unary: np.ndarray | None = None
        self._image: np.ndarray | None = None
        self._gaussian = {"gaussian_weight": 0.0, "gaussian_sxy": 1.0}
        self._bilateral = {"bilateral_weight": 0.0, "bilateral_sxy": 1.0, "bilateral_srgb": 1.0}

    def setUnaryEnergy(self, unary: np.ndarray) -> None:  # noqa: N802 - pydensecrf's name
        """Set the energies: float32 (nlabels, height · width), C-contiguous."""
        labels, height, width = self._shape
        _check_array("unary", unary, np.float32, (labels, height * width))
        self._unary = unary.reshape(self._shape).copy()

    def addPairwiseGaussian(  # noqa: N802 - pydensecrf's name
        self,
        sxy: float | Sequence[float],
        compat: float,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Add the kernel of position.

        Args:
            sxy: standard deviation in pixels, or that of x and of y, which must be equal.
            compat: weight of the Potts model, 0 or more.
            kernel: one of pydensecrf's; they differ only in learning, which neither offers.
            normalization: NORMALIZE_SYMMETRIC.

        """
        if self._gaussian["gaussian_weight"]:
            raise ValueError("addPairwiseGaussian: only one Gaussian kernel is supported")
        _check_kernel(kernel, normalization)
        self._gaussian = {
            "gaussian_weight": _potts_weight(compat),
            "gaussian_sxy": _standard_deviation("sxy", sxy, 2),
        }

    def addPairwiseBilateral(  # noqa: N802 - pydensecrf's name
        self,
        sxy: float | Sequence[float],
        srgb: float | Sequence[float],
        rgbim: np.ndarray,
        compat: float,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Add the kernel of position and colour.

        Args:
            sxy: as in `addPairwiseGaussian`.
            srgb: standard deviation in colour levels of 0 to 255, or three equal ones.
            rgbim: the image, uint8 (height, width, 3), C-contiguous; the order of its channels
                matters as in pydensecrf, see `dense_crf`.
            compat: as in `addPairwiseGaussian`.
            kernel: as in `addPairwiseGaussian`.
            normalization: as in `addPairwiseGaussian`.

        """
        if self._image is not None:
            raise ValueError("addPairwiseBilateral: only one bilateral kernel is supported")
        _check_kernel(kernel, normalization)
        _check_array("rgbim", rgbim, np.uint8, (*self._shape[1:], 3))
        self._bilateral = {
            "bilateral_weight": _potts_weight(compat),
            "bilateral_sxy": _standard_deviation("sxy", sxy, 2),
            "bilateral_srgb": _standard_deviation("srgb", srgb, 3),
        }
        self._image = rgbim.copy()

    def inference(self, n_iterations: int) -> np.ndarray:
        """Posterior float32 (nlabels, height · width) after so many mean-field iterations.

        Raises ValueError if no unary energies are set, or as `seedbed.dense_crf`.
        """
        if self._unary is None:
            raise ValueError("inference: call setUnaryEnergy first")
        image = self._image
        if image is None:
            image = np.zeros((*self._shape[1:], 3), np.uint8)
        params = {"iterations": n_iterations, **self._gaussian, **self._bilateral}
        return dense_crf(image, self._unary, params).reshape(len(self._unary), -1)


def unary_from_labels(
    labels: np.ndarray, n_labels: int, gt_prob: float, zero_unsure: bool = True
) -> np.ndarray:
    """Unary energies float32 (n_labels, pixels) of an annotation, as in pydensecrf.utils.

    Args:
        labels: integers of any shape: 0 to n_labels − 1, or with `zero_unsure` 0 to n_labels.
        n_labels: number of labels; with `zero_unsure` 0 is not one of them.
        gt_prob: probability in (0, 1) that a pixel's label is right.
        zero_unsure: whether 0 means unknown; such pixels have the same energy for all labels.

    """
    if not 0 < gt_prob < 1:
        raise ValueError(f"gt_prob must lie between 0 and 1, not {gt_prob}")
    labels = np.asarray(labels).ravel()
    probabilities = np.full((n_labels, labels.size), (1 - gt_prob) / (n_labels - 1))
    probabilities[labels - 1 if zero_unsure else labels, np.arange(labels.size)] = gt_prob
    if zero_unsure:
        probabilities[:, labels == 0] = 1 / n_labels
    return -np.log(probabilities).astype(np.float32)


def unary_from_softmax(
    sm: np.ndarray, scale: float | None = None, clip: float | None = 1e-5
) -> np.ndarray:
    """Unary energies float32 (C, pixels) of probabilities, as in pydensecrf.utils.

    Args:
        sm: probabilities (C, …).
        scale: weight in (0, 1] of the probabilities in a mixture with the uniform distribution;
            None: no mixture.
        clip: smallest probability that the logarithm is taken of; None: no limit.

    """
    if scale is not None:
        if not 0 < scale <= 1:
            raise ValueError(f"scale must lie in (0, 1], not {scale}")
        sm = scale * sm + (1 - scale) / len(sm)
    energies = -np.log(sm) if clip is None else unary_from_probabilities(sm, clip)
    return energies.reshape(len(sm), -1).astype(np.float32)


def _check_array(name: str, array: np.ndarray, dtype: type, shape: tuple[int, ...]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype or array.shape != shape:
        actual = f"{getattr(array, 'dtype', type(array).__name__)} {np.shape(array)}"
        raise ValueError(f"{name} must be {np.dtype(dtype)} {shape}, not {actual}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} must be C-contiguous: use np.ascontiguousarray")


def _check_kernel(kernel: int, normalization: int) -> None:
    if kernel not in (CONST_KERNEL, DIAG_KERNEL, FULL_KERNEL):
        raise ValueError(f"kernel must be CONST_KERNEL, DIAG_KERNEL or FULL_KERNEL, not {kernel}")
    if normalization != NORMALIZE_SYMMETRIC:
        raise ValueError("normalization must be NORMALIZE_SYMMETRIC: no other one is supported")


def _potts_weight(compat: float) -> float:
    if not isinstance(compat, Real) or not 0 <= compat < np.inf:
        raise ValueError(f"compat must be a number, 0 or more (a Potts model), not {compat!r}")
    return float(compat)


def _standard_deviation(name: str, value: float | Sequence[float], count: int) -> float:
    """The one value of a number or of `count` equal numbers."""
    values = np.ravel(value).tolist()
    if len(values) not in (1, count) or len(set(values)) != 1 or not 0 < values[0] < np.inf:
        kind = "axes" if name == "sxy" else "colours"
        raise ValueError(
            f"{name} must be a number above 0 or {count} equal ones, not {value!r}: standard "
            f"deviations that differ between the {kind} are not supported"
        )
    return float(values[0])
