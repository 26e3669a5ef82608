"""Checks of what programs written for pydensecrf pass, before anything is computed."""

from collections.abc import Sequence
from numbers import Real

import numpy as np

CONST_KERNEL, DIAG_KERNEL, FULL_KERNEL = range(3)
NO_NORMALIZATION, NORMALIZE_BEFORE, NORMALIZE_AFTER, NORMALIZE_SYMMETRIC = range(4)


def check_array(name: str, array: np.ndarray, dtype: type, shape: tuple[int | None, ...]) -> None:
    """Raise ValueError for another dtype, layout or shape; None stands for any number."""
    right = isinstance(array, np.ndarray) and array.dtype == dtype and array.ndim == len(shape)
    if not right or any(b not in (None, a) for a, b in zip(array.shape, shape, strict=True)):
        actual = f"{getattr(array, 'dtype', type(array).__name__)} {np.shape(array)}"
        wanted = str(shape).replace("None", "any")
        raise ValueError(f"{name} must be {np.dtype(dtype)} {wanted}, not {actual}")
    if not array.flags.c_contiguous:
        raise ValueError(f"{name} must be C-contiguous: use np.ascontiguousarray")


def check_kernel(kernel: int, normalization: int) -> None:
    """Raise ValueError for an unknown kernel, or a normalisation that is not symmetric."""
    if kernel not in (CONST_KERNEL, DIAG_KERNEL, FULL_KERNEL):
        raise ValueError(f"kernel must be CONST_KERNEL, DIAG_KERNEL or FULL_KERNEL, not {kernel}")
    if normalization != NORMALIZE_SYMMETRIC:
        raise ValueError("normalization must be NORMALIZE_SYMMETRIC: no other one is supported")


def potts_weight(compat: float) -> float:
    """The weight of a Potts model; ValueError for anything but a number, 0 or more."""
    if not isinstance(compat, Real) or not 0 <= compat < np.inf:
        shown = " ".join(repr(compat).split())
        raise ValueError(f"compat must be a number, 0 or more (a Potts model), not {shown}")
    return float(compat)


def standard_deviations(name: str, value: float | Sequence[float], count: int) -> tuple[float, ...]:
    """A number for each of `count` axes or colours, of one number or as many."""
    values = np.ravel(value).tolist()
    if len(values) not in (1, count) or not all(0 < each < np.inf for each in values):
        raise ValueError(f"{name} must be a number above 0 or {count} of them, not {value!r}")
    return tuple(map(float, values * (count // len(values))))
