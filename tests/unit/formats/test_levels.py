"""Levels of 8 bits and the fractions that they stand for."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seedbed.formats.levels import fractions, quantise


def test_levels_compare_with_decimal_thresholds_as_their_exact_values_do():
    levels, thousandths = np.arange(256, dtype=np.uint8)[:, None], np.arange(1001)
    values, thresholds = (
        fractions(levels),
        np.array([float(f"{n / 1000:.3f}") for n in thousandths]),
    )
    exact = 1000 * levels.astype(int), 255 * thousandths
    for compare in (np.less, np.equal, np.greater):
        np.testing.assert_array_equal(compare(values, thresholds), compare(*exact))
    assert fractions(np.float16([[0.25]])).dtype == np.float16


@given(arrays.arrays(np.float32, (3, 4), elements=st.floats(0, 1, width=32)))
def test_quantise_rounds_to_the_nearest(values):
    quantised = quantise(values)
    assert quantised.dtype == np.uint8
    assert np.abs(quantised / 255 - values).max() <= 0.5 / 255 + 1e-6
