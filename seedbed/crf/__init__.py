"""Dense CRF: of full images (`dense_crf`) and of a training's small grids (`DenseCRFGrid`).

Three programs solve it, with the same parameters and, but for rounding, the same results: one in
C++ (`native`), which `make install` builds as the module seedbed_lattice, one with tensors
(`torch`), for GPUs and where that module is not there, and pydensecrf, as a reference.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, overload

import numpy as np
import torch

from seedbed.crf.backends import Backend, choose, solve
from seedbed.crf.meanfield import mean_field
from seedbed.crf.parameters import CRFParameters, check

__all__ = ["Backend", "DenseCRFGrid", "dense_crf", "unary_from_probabilities"]

Array = TypeVar("Array", np.ndarray, torch.Tensor)
T = TypeVar("T")


def unary_from_probabilities(probs: Array, floor: float = 1e-5) -> Array:
    """Energies −log p of probabilities in [0, 1] of any shape, p clipped to [floor, 1]."""
    if not 0 < floor < 1:
        raise ValueError(f"floor must lie between 0 and 1, not {floor}")
    log = torch.log if isinstance(probs, torch.Tensor) else np.log
    return -log(probs.clip(floor, 1))


@overload
def dense_crf(image: Array, unary: Array, params: Mapping[str, float | str]) -> Array: ...


@overload
def dense_crf(
    image: Sequence[Array], unary: Sequence[Array], params: Mapping[str, float | str]
) -> list[Array]: ...


def dense_crf(
    image: Array | Sequence[Array],
    unary: Array | Sequence[Array],
    params: Mapping[str, float | str],
) -> Array | list[Array]:
    """Posterior of the fully connected CRF of Krähenbühl & Koltun (NIPS 2011).

    Args:
        image: RGB uint8 (H, W, 3), or a list of such images.
        unary: energies (C, H, W), the lower the likelier; a list if `image` is one.
        params: `iterations`, `gaussian_weight`, `gaussian_sxy`, `bilateral_weight`,
            `bilateral_sxy` (standard deviations in pixels) and `bilateral_srgb` (in levels of
            256). 10, 3, 3, 10, 80, 13 are usual for full-size photographs. And perhaps `backend`:
            "native", "torch" (on the device of `unary`), "pydensecrf", or "auto", which is torch
            for tensors on a GPU, else native if it is there, else torch.

    Returns:
        Float32 (C, H, W) that sums to 1 over C: a tensor on `unary`'s device if that is a tensor,
        else an array. For lists a list; with `native`, `torch.get_num_threads()` threads work on
        its images.

    Raises:
        ValueError: a parameter unknown, missing or out of range; a wrong shape; an image that is
            not uint8; an energy that is not finite; a standard deviation too small for the image.
        UserError: `native` is asked for but not built.

    """
    kernels = {name: value for name, value in params.items() if name != "backend"}
    parameters, backend = CRFParameters.from_mapping(kernels), params.get("backend", "auto")
    if not isinstance(image, list | tuple):
        return _posterior(image, unary, parameters, backend)
    if not isinstance(unary, list | tuple) or len(unary) != len(image):
        raise ValueError(f"unary must be a list of {len(image)}, one for each image")
    jobs = [(*pair, parameters, backend) for pair in zip(image, unary, strict=True)]
    return _map(_posterior, jobs, choose(backend))


class DenseCRFGrid:
    """Dense CRF of a batch, without gradient: the one inside DSRG's training (CVPR 2018).

    The keyword arguments are `params` and `backend` of `dense_crf`. Spatial standard deviations
    are in cells of the grid, so the caller has divided those of the full image by the network's
    scale.
    """

    def __init__(self, *, backend: Backend = "auto", **params: float) -> None:
        self.params = CRFParameters.from_mapping(params)
        self.backend = backend
        choose(backend)

    @torch.no_grad()
    def __call__(
        self, images: torch.Tensor, unary: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Posterior float32 (N, C, H, W) on the device of `unary`.

        Args:
            images: RGB uint8 (N, 3, H, W).
            unary: energies (N, C, H, W), the caller's choice of −p or −log p.
            labels: (N, C), non-zero = present. If given, only an image's present channels take
                part, which is faster, and the absent ones are 0; None takes all of them.

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
        backend = choose(self.backend, unary.device)
        if backend == "torch":
            unary = unary.float()
            check(images, unary, self.params, batch=len(images))
            return _batch(images, unary, present, self.params)
        # Arrays from here on: an operation on tensors leaves torch's threads waiting at full speed
        # for the next one, on the processors where ours are to work.
        pictures, energies = np.ascontiguousarray(_numpy(images)), _contiguous(unary)
        check(pictures, energies, self.params, batch=len(images))
        posterior = np.zeros(unary.shape, np.float32)
        channels = [one.nonzero()[0].astype(np.int32) for one in present.cpu().numpy()]
        jobs = [
            (backend, pictures[i], energies[i], posterior[i], channels[i], self.params)
            for i in range(len(images))
            if len(channels[i])
        ]
        _map(solve, jobs, backend)
        return torch.from_numpy(posterior).to(unary.device)


def _posterior(image: Array, unary: Array, parameters: CRFParameters, backend: Backend) -> Array:
    device = unary.device if isinstance(unary, torch.Tensor) else torch.device("cpu")
    backend = choose(backend, device)
    if backend == "torch" and device.type != "cpu":
        pixels, energies = torch.as_tensor(image), unary.detach().float()
        check(pixels, energies, parameters)
        return mean_field(pixels[None], energies[None], parameters)[0]
    pixels, energies = np.ascontiguousarray(_numpy(image)), _contiguous(unary)
    check(pixels, energies, parameters)
    posterior = np.empty_like(energies)
    channels = np.arange(len(energies), dtype=np.int32)
    solve(backend, pixels, energies, posterior, channels, parameters)
    return torch.from_numpy(posterior).to(device) if isinstance(unary, torch.Tensor) else posterior


def _batch(
    images: torch.Tensor, unary: torch.Tensor, present: torch.Tensor, params: CRFParameters
) -> torch.Tensor:
    """As `DenseCRFGrid` with torch: all images at once, each one's present channels first."""
    most = int(present.sum(1).max())
    order = present.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    absent = ~present.gather(1, order)[:, :, None, None]
    channels = order[:, :, None, None].expand(-1, -1, *unary.shape[2:])
    energies = unary.gather(1, channels).masked_fill(absent, torch.inf)
    posterior = torch.zeros(unary.shape, device=unary.device)
    if most:
        solved = mean_field(images, energies, params).masked_fill(absent, 0)
        posterior.scatter_(1, channels, solved)
    return posterior


def _map(function: Callable[..., T], jobs: Sequence[tuple], backend: str) -> list[T]:
    """Results of a function in order; only our C++ leaves the other threads free to work."""
    workers = min(len(jobs), torch.get_num_threads()) if backend == "native" else 1
    if workers <= 1:
        return [function(*job) for job in jobs]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda job: function(*job), jobs))


def _numpy(array: Array) -> np.ndarray:
    # numpy has no bfloat16, and half precision gains nothing here.
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        return (array.float() if array.is_floating_point() else array).numpy()
    return np.asarray(array)


def _contiguous(unary: Array) -> np.ndarray:
    # numpy's warning about an overflow would say less than the check that follows.
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(_numpy(unary), dtype=np.float32)
