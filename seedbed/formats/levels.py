"""Maps in [0, 1] in 8 bits: levels of 0 to 255, and back."""

import numpy as np


def quantise(fractions: np.ndarray) -> np.ndarray:
    """Floats in [0, 1] → uint8: round(255 x)."""
    return np.rint(np.asarray(fractions) * 255).astype(np.uint8)


def fractions(maps: np.ndarray) -> np.ndarray:
    """Maps in [0, 1] of either form as floats: uint8 levels → level / 255, float64; else unchanged.

    A comparison of the result with a threshold is exact, ties included: quotient and threshold are
    both the float64 nearest to their value, and 51 / 255 equals 0.2. As float32, 51 / 255 is
    greater than the float64 0.2.
    """
    return maps / np.float64(255) if maps.dtype == np.uint8 else maps
