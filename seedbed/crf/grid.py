"""Dense CRF of a batch of small grids, as inside the training of DSRG (Huang et al., CVPR 2018)."""

import numpy as np
import torch
from torch import Tensor

from seedbed.crf.backends import Backend, map_images, resolve_backend, solve
from seedbed.crf.inputs import check_inputs, check_shapes, to_numpy
from seedbed.crf.meanfield import mean_field
from seedbed.crf.parameters import CRFParameters

# Largest batch, in cells, for which the lattice has a fixed size on a GPU: 30 grids of 81 × 81. In
# larger ones most possible vertices do not occur, and computing them all takes longer than reading
# their number back.
MAX_FIXED_PIXELS = 200_000


class DenseCRFGrid:
    """Dense CRF of a batch at a network's output resolution, without gradients.

    Spatial standard deviations are in cells of the grid: the caller divides those of the full
    image by the network's output stride.

    On a GPU a batch of up to 200 000 cells is solved without reading anything back to the host,
    except for the first batch of each shape. All channels are then computed, absent ones too, and a
    non-finite energy is no error: the posterior of that cell and of its neighbourhood is NaN.

    Args:
        backend: as in `dense_crf`.
        params: the fields of `CRFParameters`, each a keyword argument.

    Raises:
        ValueError, UserError: as in `dense_crf`.

    """

    def __init__(self, *, backend: Backend = "auto", **params: float) -> None:
        self.params = CRFParameters.from_mapping(params)
        self.backend = backend
        resolve_backend(backend)

    @torch.no_grad()
    def __call__(self, images: Tensor, unary: Tensor, labels: Tensor | None = None) -> Tensor:
        """Posterior float32 (N, C, H, W) on the device of `unary`.

        Args:
            images: uint8 (N, 3, H, W). The order of the channels matters, see `dense_crf`: in
                DSRG's training they are blue, green, red.
            unary: energies (N, C, H, W); published code uses both −p and −log p.
            labels: (N, C), non-zero = present. Only an image's present channels take part, which
                is faster on a CPU, and its absent channels are 0. None: all channels take part.

        Raises ValueError as `dense_crf`.

        """
        if images.ndim != 4 or unary.ndim != 4 or len(images) != len(unary):
            raise ValueError(
                "images and unary must have the shapes (N, 3, H, W) and (N, C, H, W), "
                f"not {tuple(images.shape)} and {tuple(unary.shape)}"
            )
        present = unary.new_ones(unary.shape[:2]) if labels is None else labels
        if present.shape != unary.shape[:2]:
            raise ValueError(f"labels must have the shape (N, C), not {tuple(present.shape)}")
        images, present = images.permute(0, 2, 3, 1), present.to(unary.device) != 0
        backend = resolve_backend(self.backend, unary.device)
        if backend == "torch":
            return _solve_batch(images, unary.float(), present, self.params)
        return _solve_each(backend, images, unary, present, self.params)


def _solve_batch(images: Tensor, unary: Tensor, present: Tensor, params: CRFParameters) -> Tensor:
    """Posterior of all images at once with tensors."""
    if unary.device.type != "cpu" and unary[:, 0].numel() <= MAX_FIXED_PIXELS:
        return _solve_without_waiting(images, unary, present, params)
    check_inputs(images, unary, params, batch=len(images))
    # Each image's present channels are gathered first, then as many absent ones as fill the batch.
    count = int(present.sum(1).max())
    order = present.int().argsort(dim=1, descending=True, stable=True)[:, :count]
    absent = ~present.gather(1, order)[:, :, None, None]
    channels = order[:, :, None, None].expand(-1, -1, *unary.shape[2:])
    energies = unary.gather(1, channels).masked_fill(absent, torch.inf)
    posterior = torch.zeros(unary.shape, device=unary.device)
    if count:
        solved = mean_field(images, energies, params).masked_fill(absent, 0)
        posterior.scatter_(1, channels, solved)
    return posterior


def _solve_without_waiting(
    images: Tensor, unary: Tensor, present: Tensor, params: CRFParameters
) -> Tensor:
    """Posterior of all images and channels; the energies of absent ones are infinite."""
    check_shapes(images, unary, params, batch=len(images))
    absent = ~present[:, :, None, None]
    wrong = ~unary.isfinite() & ~absent
    energies = unary.masked_fill(absent, torch.inf).masked_fill(wrong, torch.nan)
    return mean_field(images, energies, params, asynchronous=True).masked_fill(absent, 0)


def _solve_each(
    backend: str, images: Tensor, unary: Tensor, present: Tensor, params: CRFParameters
) -> Tensor:
    """Posterior of one image after the other.

    Everything is a NumPy array: after an operation on tensors torch's threads wait busily for the
    next one, on the processors that the solver's threads need.
    """
    pixels, energies = to_numpy(images), to_numpy(unary, np.float32)
    check_inputs(pixels, energies, params, batch=len(images))
    posterior = np.zeros(unary.shape, np.float32)
    channels = [row.nonzero()[0].astype(np.int32) for row in present.cpu().numpy()]
    jobs = [
        (backend, pixels[i], energies[i], posterior[i], channels[i], params)
        for i in range(len(images))
        if len(channels[i])
    ]
    map_images(solve, jobs, backend)
    return torch.from_numpy(posterior).to(unary.device)
