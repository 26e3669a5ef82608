"""Images and energies that are the same to the byte on every machine: sums and products only.

The reference results of the dense CRF belong to them, and are of no use if they differ.
"""

import hashlib

import numpy as np

SIZE = (375, 500)  # rows and columns of most VOC images


def smooth(
    rng: np.random.Generator, channels: int, cells: int, size: tuple[int, int]
) -> np.ndarray:
    """Float64 (channels, *size) in [0, 1]: random values of cells × cells, linearly between."""
    coarse = rng.integers(0, 1 << 20, (channels, cells, cells)) / (1 << 20)
    for axis in (1, 2):
        where = np.arange(size[axis - 1]) * ((cells - 1) / size[axis - 1])
        before = where.astype(int)
        share = (where - before)[:, None] if axis == 1 else where - before
        low, high = (np.take(coarse, before + step, axis) for step in (0, 1))
        coarse = low + share * (high - low)
    return coarse


def image(seed: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """RGB uint8 (*size, 3): patches, slopes and noise."""
    rng = np.random.default_rng([seed, 0])
    patches = 120.0 * (smooth(rng, 3, 7, size) > 0.5) + 90 * smooth(rng, 3, 30, size)
    noise = rng.integers(0, 20, patches.shape)
    return (patches + noise).astype(np.uint8).transpose(1, 2, 0).copy()


def energies(seed: int, labels: int, size: tuple[int, int] = SIZE, cells: int = 24) -> np.ndarray:
    """Unary energies float32 (labels, *size), from 0 to 4."""
    rng = np.random.default_rng([seed, 1])
    return (4 * smooth(rng, labels, cells, size)).astype(np.float32)


def digest(*arrays: np.ndarray) -> str:
    """SHA-256 of the arrays' bytes."""
    total = hashlib.sha256()
    for array in arrays:
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()
