"""Dense CRF of full-size images."""

from collections.abc import Mapping, Sequence
from typing import overload

import numpy as np
import torch

from seedbed.crf.backends import Backend, map_images, resolve_backend, solve
from seedbed.crf.inputs import Array, check_inputs, to_numpy
from seedbed.crf.meanfield import mean_field
from seedbed.crf.parameters import CRFParameters


def unary_from_probabilities(probs: Array, floor: float = 1e-5) -> Array:
    """Unary energies −log p of probabilities in [0, 1] of any shape, p clipped to [floor, 1]."""
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
    """Posterior of the fully connected CRF of Krähenbühl & Koltun (NIPS 2011), by mean field.

    The pairwise potentials are Potts, with a Gaussian kernel of position and a bilateral kernel of
    position and colour, each normalised symmetrically: D^-1/2 K D^-1/2, where the diagonal matrix D
    holds K's row sums. This is pydensecrf's default.

    The kernels are approximated on a lattice (Adams et al. 2010), which treats the image's channels
    differently, so permuting them (RGB or BGR) changes some labels. No backend reorders them. For
    published results: RGB at full size (DSRG's test scripts), BGR on DSRG's training grid.

    Args:
        image: uint8 (H, W, 3), RGB by convention, or a list of images.
        unary: energies (C, H, W), the negative log-likelihoods; a list if `image` is one.
        params: the fields of `CRFParameters`: `iterations`, `gaussian_weight`, `gaussian_sxy`,
            `bilateral_weight`, `bilateral_sxy` and `bilateral_srgb` (standard deviations in pixels
            and in colour levels of 0 to 255). 10, 3, 3, 10, 80, 13 are usual for photographs.
            Optionally `stride`: with 2, only every second pixel of every second row sends
            messages, and the `native` backend takes half the time; see `CRFParameters`.
            Optionally `backend`: "native" (C++), "torch" (on the device of `unary`),
            "pydensecrf", or "auto", the default: see `resolve_backend`.

    Returns:
        Float32 (C, H, W) that sums to 1 over C: a tensor on `unary`'s device if `unary` is a
        tensor, else an array. A list for lists, whose images `native` solves on
        `torch.get_num_threads()` threads.

    Raises:
        ValueError: an unknown, missing or out-of-range parameter, or a stride for `pydensecrf`,
            which has none; a wrong shape; an image that is not uint8; an energy that is not finite;
            a standard deviation too small for the image.
        UserError: the C++ module is asked for and missing, or was built from other sources.

    """
    kernels = {name: value for name, value in params.items() if name != "backend"}
    parameters, backend = CRFParameters.from_mapping(kernels), params.get("backend", "auto")
    if not isinstance(image, list | tuple):
        return _posterior(image, unary, parameters, backend)
    if not isinstance(unary, list | tuple) or len(unary) != len(image):
        raise ValueError(f"unary must be a list of {len(image)}, one for each image")
    jobs = [(*pair, parameters, backend) for pair in zip(image, unary, strict=True)]
    device = unary[0].device if unary and isinstance(unary[0], torch.Tensor) else None
    return map_images(_posterior, jobs, resolve_backend(backend, device))


def _posterior(image: Array, unary: Array, params: CRFParameters, backend: Backend) -> Array:
    """Posterior of one image, as `dense_crf` returns it."""
    device = unary.device if isinstance(unary, torch.Tensor) else torch.device("cpu")
    backend = resolve_backend(backend, device)
    if backend == "torch" and device.type != "cpu":
        pixels, energies = torch.as_tensor(image), unary.detach().float()
        check_inputs(pixels, energies, params)
        return mean_field(pixels[None], energies[None], params)[0]
    pixels, energies = to_numpy(image), to_numpy(unary, np.float32)
    check_inputs(pixels, energies, params)
    posterior = np.empty_like(energies)
    channels = np.arange(len(energies), dtype=np.int32)
    solve(backend, pixels, energies, posterior, channels, params)
    return torch.from_numpy(posterior).to(device) if isinstance(unary, torch.Tensor) else posterior


def crf_posterior(
    image: np.ndarray, scores: np.ndarray, params: Mapping[str, float | str]
) -> np.ndarray:
    """Posterior of a dense CRF whose unary energies are −log of normalised scores.

    Args:
        image: RGB uint8 (H, W, 3).
        scores: (C, H, W) floating, non-negative, such as probabilities of some of the classes;
            normalised here to sum to 1 over C.
        params: see `dense_crf`.

    Returns:
        (C, H, W) float32.

    """
    total = scores.sum(0, keepdims=True)
    return dense_crf(image, unary_from_probabilities(scores / np.maximum(total, 1e-12)), params)
