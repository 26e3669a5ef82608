"""The programs that solve the CRF of one image: ours in C++ or with tensors, and pydensecrf."""

from typing import Literal, get_args

import numpy as np
import torch
from pydensecrf.densecrf import DenseCRF2D

from seedbed.crf.meanfield import mean_field
from seedbed.crf.parameters import CRFParameters
from seedbed.runtime.errors import UserError

try:
    import seedbed_lattice
except ImportError:
    seedbed_lattice = None

Backend = Literal["auto", "native", "torch", "pydensecrf"]


def choose(backend: Backend, device: torch.device | None = None) -> str:
    """The backend's own name for `auto`: torch on a GPU or where the C++ module is not built.

    Raises:
        ValueError: there is no such backend.
        UserError: `native` is asked for and is not there.

    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, not {backend}")
    if backend == "native" and seedbed_lattice is None:
        raise UserError(
            "CRF backend native: the module seedbed_lattice is not built; "
            "run make install with a C++ compiler, or choose auto"
        )
    if backend != "auto":
        return backend
    on_cpu = device is None or device.type == "cpu"
    return "native" if seedbed_lattice is not None and on_cpu else "torch"


def solve(
    backend: str,
    image: np.ndarray,
    unary: np.ndarray,
    posterior: np.ndarray,
    channels: np.ndarray,
    params: CRFParameters,
) -> None:
    """Write the posterior, float32 (C, H, W), in the channels, int32 (K,), that alone take part.

    The image is uint8 (H, W, 3), the energies float32 (C, H, W); all arrays are contiguous.
    """
    if backend == "native":
        seedbed_lattice.mean_field(
            image,
            unary,
            posterior,
            channels,
            *unary.shape[1:],
            int(params.iterations),
            params.gaussian_weight,
            params.gaussian_sxy,
            params.bilateral_weight,
            params.bilateral_sxy,
            params.bilateral_srgb,
        )
        return
    some = unary if len(channels) == len(unary) else unary[channels]
    posterior[channels] = {"torch": _torch, "pydensecrf": _pydensecrf}[backend](image, some, params)


def _torch(image: np.ndarray, unary: np.ndarray, params: CRFParameters) -> np.ndarray:
    images, energies = torch.tensor(image)[None], torch.tensor(unary)[None]
    return mean_field(images, energies, params)[0].numpy()


def _pydensecrf(image: np.ndarray, unary: np.ndarray, params: CRFParameters) -> np.ndarray:
    channels, height, width = unary.shape
    crf = DenseCRF2D(width, height, channels)
    crf.setUnaryEnergy(unary.reshape(channels, -1))
    crf.addPairwiseGaussian(sxy=params.gaussian_sxy, compat=params.gaussian_weight)
    crf.addPairwiseBilateral(
        sxy=params.bilateral_sxy,
        srgb=params.bilateral_srgb,
        rgbim=image,
        compat=params.bilateral_weight,
    )
    return np.array(crf.inference(int(params.iterations)), np.float32).reshape(unary.shape)
