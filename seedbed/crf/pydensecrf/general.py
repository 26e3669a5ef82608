"""`DenseCRF`: the fully connected CRF of any points, whose kernels are given as features."""

import numpy as np
import torch
from torch import Tensor

from seedbed.crf.lattice import Lattice, SumOfLattices, vertex_keys
from seedbed.crf.meanfield import infer
from seedbed.crf.pydensecrf.arguments import (
    DIAG_KERNEL,
    NORMALIZE_SYMMETRIC,
    check_array,
    check_kernel,
    potts_weight,
)

MIN_PROBABILITY = 1e-20  # probability that a logarithm is taken of


class DenseCRF:
    """Fully connected CRF of any points, solved with tensors.

    Args:
        nvar: number of points.
        nlabels: number of labels.

    """

    def __init__(self, nvar: int, nlabels: int) -> None:
        self._points, self._labels = nvar, nlabels
        self._unary: np.ndarray | None = None
        self._kernels: list[tuple[np.ndarray, float]] = []  # features (d, points) and weight
        self._filters: SumOfLattices | None = None

    def npixels(self) -> int:
        """Number of points."""
        return self._points

    def nlabels(self) -> int:
        """Number of labels."""
        return self._labels

    def setUnaryEnergy(self, unary: np.ndarray) -> None:  # noqa: N802 - pydensecrf's name
        """Set the energies: float32 (nlabels, points), C-contiguous."""
        check_array("unary", unary, np.float32, (self._labels, self._points))
        if not np.isfinite(unary).all():
            raise ValueError(
                "unary holds NaN or infinity; floor probabilities before the logarithm"
            )
        self._unary = unary.copy()

    def addPairwiseEnergy(  # noqa: N802 - pydensecrf's name
        self,
        features: np.ndarray,
        compat: float,
        kernel: int = DIAG_KERNEL,
        normalization: int = NORMALIZE_SYMMETRIC,
    ) -> None:
        """Add a Gaussian kernel of standard deviation 1 in each feature.

        Args:
            features: float32 (d, points), C-contiguous, finite and not negative: see
                `create_pairwise_gaussian` and `create_pairwise_bilateral`.
            compat: weight of the Potts model, 0 or more.
            kernel: one of pydensecrf's; they differ only in learning, which neither offers.
            normalization: NORMALIZE_SYMMETRIC.

        """
        check_kernel(kernel, normalization)
        check_array("features", features, np.float32, (None, self._points))
        if not (np.isfinite(features).all() and (features >= 0).all()):
            raise ValueError("features must be finite, and 0 or more: shift those that are not")
        self._add(features.copy(), potts_weight(compat))

    def _add(self, features: np.ndarray, weight: float) -> None:
        try:
            vertex_keys(features.max(1).tolist(), batch=1)
        except OverflowError as error:
            raise ValueError("the standard deviations are too small for these features") from error
        self._kernels.append((features, weight))
        self._filters = None

    def inference(self, n_iterations: int) -> np.ndarray:
        """Posterior float32 (nlabels, points) after so many mean-field iterations.

        Raises ValueError if no unary energies are set, or as `seedbed.dense_crf`.
        """
        return infer(self._all_filters(), self._logits(), n_iterations).t().numpy().copy()

    def startInference(self) -> tuple[np.ndarray, None, None]:  # noqa: N802 - pydensecrf's name
        """Posterior float32 (nlabels, points) before the first iteration, for `stepInference`.

        The two values beside it, pydensecrf's storage, are not needed and None.
        """
        return infer(SumOfLattices([]), self._logits(), 0).t().numpy().copy(), None, None

    def stepInference(  # noqa: N802 - pydensecrf's name
        self,
        Q: np.ndarray,  # noqa: N803
        tmp1: None = None,
        tmp2: None = None,
    ) -> None:
        """Do one iteration, in place, on a posterior of `startInference`."""
        start = self._rows(Q)
        Q[...] = infer(self._all_filters(), self._logits(), 1, start=start).t().numpy()

    def klDivergence(self, Q: np.ndarray) -> float:  # noqa: N802, N803 - pydensecrf's names
        """Kullback-Leibler divergence of Q from the CRF's distribution, but for a constant."""
        rows = self._rows(Q)
        messages = self._all_filters()(rows).double()
        rows, energies = rows.double(), torch.from_numpy(self._energies()).t().double()
        return float((rows * (rows.clamp(min=MIN_PROBABILITY).log() + energies - messages)).sum())

    def _rows(self, posterior: np.ndarray) -> Tensor:
        """A posterior as float32 (points, nlabels)."""
        check_array("Q", posterior, np.float32, (self._labels, self._points))
        return torch.from_numpy(posterior).t().contiguous()

    def _energies(self) -> np.ndarray:
        if self._unary is None:
            raise ValueError("there are no unary energies: call setUnaryEnergy first")
        return self._unary

    def _logits(self) -> Tensor:
        energies = torch.from_numpy(self._energies())
        return (energies.amin(0) - energies).t().contiguous()

    def _all_filters(self) -> SumOfLattices:
        """The kernels' filters; made once, when they are needed first."""
        if self._filters is None:
            lattices = []
            for features, weight in self._kernels:
                points = torch.from_numpy(features).t().contiguous()[None]
                lattices.append(Lattice(points, features.max(1).tolist(), weight))
            self._filters = SumOfLattices(lattices)
        return self._filters
