"""Results of the native dense CRF, carried as a file: `python -m benchmarks.gpu.reference`.

Writes reference.npz, which a machine without the C++ module compares with. Of every case it holds
the labels (arg max of the posterior) and the SHA-256 of image and energies, so that a machine on
which these come out differently says so instead of disagreeing.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.gpu.scenes import SIZE, digest, energies, image
from seedbed.crf import DenseCRFGrid, dense_crf

PATH = Path(__file__).with_name("reference.npz")
LABELS = 21
GRID, BATCH = (41, 41), 20
PARAMS = {
    "iterations": 10,
    "gaussian_weight": 3,
    "gaussian_sxy": 3,
    "bilateral_weight": 10,
    "bilateral_sxy": 80,
    "bilateral_srgb": 13,
}
GRID_PARAMS = PARAMS | {"gaussian_sxy": 3 / 12, "bilateral_sxy": 80 / 12}


class Case(NamedTuple):
    """Images uint8 (N, H, W, 3) and energies float32 (N, C, H, W); params: of the CRF."""

    images: np.ndarray
    unary: np.ndarray
    params: dict[str, float]


def full_size(images: int = 2, labels: int = LABELS) -> Case:
    """Images of VOC's usual size."""
    pixels = [image(seed) for seed in range(images)]
    return Case(np.stack(pixels), np.stack([energies(s, labels) for s in range(images)]), PARAMS)


def grids() -> Case:
    """The grids of a training step; its energies are −p, from −1 to 0."""
    pixels = np.stack([image(seed, GRID) for seed in range(BATCH)])
    unary = np.stack([energies(seed, LABELS, GRID, 8) for seed in range(BATCH)])
    return Case(pixels, unary / 4 - 1, GRID_PARAMS)


CASES = {"full_size": full_size, "grids": grids}


def load(name: str) -> tuple[Case, np.ndarray]:
    """A case and the native labels uint8 (N, H, W); RuntimeError if it came out differently."""
    case = CASES[name]()
    with np.load(PATH) as stored:
        if str(stored[f"{name}_digest"]) != digest(case.images, case.unary):
            raise RuntimeError(f"{name}: images or energies differ from those of {PATH.name}")
        return case, stored[f"{name}_labels"]


def native_labels(case: Case) -> np.ndarray:
    """Arg max uint8 (N, H, W) of what the C++ module gives."""
    if case.images.shape[1:3] == SIZE:
        params = case.params | {"backend": "native"}
        found = np.stack([dense_crf(*pair, params) for pair in zip(*case[:2], strict=True)])
    else:
        images = torch.from_numpy(case.images).permute(0, 3, 1, 2)
        crf = DenseCRFGrid(**case.params, backend="native")
        found = crf(images, torch.from_numpy(case.unary)).numpy()
    return found.argmax(1).astype(np.uint8)


def main() -> None:
    """Write the file."""
    arrays = {}
    for name, make in CASES.items():
        case = make()
        arrays[f"{name}_labels"] = native_labels(case)
        arrays[f"{name}_digest"] = np.array(digest(case.images, case.unary))
    np.savez_compressed(PATH, **arrays)
    print(f"{PATH}: {PATH.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
