"""Dense CRF: of full images (`dense_crf`) and of a training's small grids (`DenseCRFGrid`)."""

from collections.abc import Mapping, Sequence
from typing import TypeVar, overload

import numpy as np
import torch

from seedbed.crf.meanfield import CRFParameters, mean_field

__all__ = ["DenseCRFGrid", "dense_crf", "unary_from_probabilities"]

Array = TypeVar("Array", np.ndarray, torch.Tensor)


def unary_from_probabilities(probs: Array, floor: float = 1e-5) -> Array:
    """Energies −log p of probabilities in [0, 1] of any shape, p clipped to [floor, 1]."""
    if not 0 < floor < 1:
        raise ValueError(f"floor must lie between 0 and 1, not {floor}")
    log = torch.log if isinstance(probs, torch.Tensor) else np.log
    return -log(probs.clip(floor, 1))


@overload
def dense_crf(image: Array, unary: Array, params: Mapping[str, float]) -> Array: ...


@overload
def dense_crf(
    image: Sequence[Array], unary: Sequence[Array], params: Mapping[str, float]
) -> list[Array]: ...


def dense_crf(
    image: Array | Sequence[Array], unary: Array | Sequence[Array], params: Mapping[str, float]
) -> Array | list[Array]:
    """Posterior of the fully connected CRF of Krähenbühl & Koltun (NIPS 2011).

    Args:
        image: RGB uint8 (H, W, 3), or a list of such images.
        unary: energies (C, H, W), the lower the likelier; a list if `image` is one.
        params: exactly `iterations`, `gaussian_weight`, `gaussian_sxy`, `bilateral_weight`,
            `bilateral_sxy` (standard deviations in pixels) and `bilateral_srgb` (in levels of
            256). 10, 3, 3, 10, 80, 13 are usual for full-size photographs.

    Returns:
        Float32 (C, H, W) that sums to 1 over C: a tensor on `unary`'s device if that is a tensor,
        else an array. For lists a list; its images are worked on one after the other.

    Raises:
        ValueError: a parameter unknown, missing or out of range; a wrong shape; an image that is
            not uint8; an energy that is not finite.

    """
    parameters = CRFParameters.from_mapping(params)
    if not isinstance(image, list | tuple):
        return _posterior(image, unary, parameters)
    if not isinstance(unary, list | tuple) or len(unary) != len(image):
        raise ValueError(f"unary must be a list of {len(image)}, one for each image")
    return [_posterior(*pair, parameters) for pair in zip(image, unary, strict=True)]


class DenseCRFGrid:
    """Dense CRF of a batch, without gradient: the one inside DSRG's training (CVPR 2018).

    The keyword arguments are `params` of `dense_crf`. Spatial standard deviations are in cells of
    the grid, so the caller has divided those of the full image by the network's scale.
    """

    def __init__(self, **params: float) -> None:
        self.params = CRFParameters.from_mapping(params)

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
        present = torch.ones(unary.shape[:2]) if labels is None else labels
        if present.shape != unary.shape[:2]:
            raise ValueError(f"labels must have the shape (N, C), not {tuple(present.shape)}")
        posterior = torch.zeros(unary.shape, dtype=torch.float32)
        pictures, energies = images.permute(0, 2, 3, 1).cpu(), unary.cpu()
        for index, channels in enumerate(present.cpu() != 0):
            if channels.any():
                one = energies[index, channels]
                posterior[index, channels] = _posterior(pictures[index], one, self.params)
        return posterior.to(unary.device)


def _posterior(image: Array, unary: Array, parameters: CRFParameters) -> Array:
    posterior = mean_field(_numpy(image), _numpy(unary), parameters)
    if isinstance(unary, torch.Tensor):
        return torch.from_numpy(posterior).to(unary.device)
    return posterior


def _numpy(array: Array) -> np.ndarray:
    # numpy has no bfloat16, and half precision gains nothing here.
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        return (array.float() if array.is_floating_point() else array).numpy()
    return np.asarray(array)
