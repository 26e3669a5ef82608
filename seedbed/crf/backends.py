"""The programs that solve the CRF of one image.

`native` is the C++ module seedbed_lattice, `torch` runs on any device, and `pydensecrf` is the
reference. Their results agree but for rounding.
"""

import functools
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar, get_args

import numpy as np
import torch

from seedbed.crf.meanfield import mean_field
from seedbed.crf.parameters import CRFParameters
from seedbed.runtime.errors import UserError

try:
    import seedbed_lattice
except ImportError:
    seedbed_lattice = None

Backend = Literal["auto", "native", "torch", "pydensecrf"]
T = TypeVar("T")
NATIVE_FOLDER = Path(__file__).parent / "native"


def resolve_backend(backend: Backend, device: torch.device | None = None) -> str:
    """Name of the backend that solves the CRF here: "native", "torch" or "pydensecrf".

    `auto` is `torch` on a GPU, else `native` if the C++ module is built, else `torch`.

    Args:
        backend: the backend asked for.
        device: of the unary energies; None is the CPU.

    Raises:
        ValueError: there is no such backend.
        UserError: the backend is `native`, and the C++ module is not built or was built from other
            sources than those in this package.

    """
    if backend not in get_args(Backend):
        raise ValueError(f"backend must be one of {', '.join(get_args(Backend))}, not {backend}")
    if backend == "auto":
        on_cpu = device is None or device.type == "cpu"
        backend = "native" if seedbed_lattice is not None and on_cpu else "torch"
    if backend == "native":
        _check_native_module()
    return backend


def _check_native_module() -> None:
    """Raise UserError unless the C++ module is there and built from this package's sources."""
    if seedbed_lattice is None:
        raise UserError(
            "CRF backend native: the module seedbed_lattice is not built; "
            "run make install with a C++ compiler, or choose auto"
        )
    expected = native_source_hash()
    if expected is not None and getattr(seedbed_lattice, "source_hash", None) != expected:
        raise UserError(
            f"CRF backend native: {seedbed_lattice.__file__} was not built from the sources in "
            f"{NATIVE_FOLDER}; run make install, or set the CRF's backend to torch"
        )


@functools.cache
def native_source_hash() -> str | None:
    """SHA-256 of the C++ sources in this package, as native/setup.py compiles it in.

    None if the package was installed without them, so that there is nothing to compare with.
    """
    sources = sorted(
        path for path in NATIVE_FOLDER.glob("*") if path.suffix in {".cpp", ".hpp", ".py"}
    )
    if not sources:
        return None
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def map_images(function: Callable[..., T], jobs: Sequence[tuple], backend: str) -> list[T]:
    """Results of `function(*job)` for each image's job, in order.

    With `native` on `torch.get_num_threads()` threads; the others use torch's threads or hold the
    interpreter's lock.
    """
    workers = min(len(jobs), torch.get_num_threads()) if backend == "native" else 1
    if workers <= 1:
        return [function(*job) for job in jobs]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda job: function(*job), jobs))


def solve(
    backend: str,
    image: np.ndarray,
    unary: np.ndarray,
    posterior: np.ndarray,
    channels: np.ndarray,
    params: CRFParameters,
) -> None:
    """Solve the CRF of one image; all arrays are C-contiguous.

    Args:
        backend: "native", "torch" or "pydensecrf".
        image: uint8 (H, W, 3).
        unary: energies float32 (C, H, W).
        posterior: float32 (C, H, W), written in the given channels only.
        channels: int32 (K,), the channels that take part.
        params: kernels and number of iterations.

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
            int(params.stride),
        )
        return
    energies = unary if len(channels) == len(unary) else unary[channels]
    solver = {"torch": _solve_torch, "pydensecrf": _solve_pydensecrf}[backend]
    posterior[channels] = solver(image, energies, params)


def _solve_torch(image: np.ndarray, unary: np.ndarray, params: CRFParameters) -> np.ndarray:
    images, energies = torch.tensor(image)[None], torch.tensor(unary)[None]
    return mean_field(images, energies, params)[0].numpy()


def _solve_pydensecrf(image: np.ndarray, unary: np.ndarray, params: CRFParameters) -> np.ndarray:
    if params.stride != 1:
        raise ValueError("CRF backend pydensecrf has no stride; choose another backend or stride 1")
    from pydensecrf.densecrf import DenseCRF2D

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
