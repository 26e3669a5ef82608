"""The CRF on scores."""

import numpy as np
import pytest

from seedbed.crf import crf_posterior, dense_crf, unary_from_probabilities
from tests.unit.crf.test_crf import GRID


def test_scores_are_normalised_first():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (7, 9, 3), np.uint8)
    scores = rng.random((3, 7, 9), np.float32)
    scores[:, 2, 3] = 0  # as where a network excludes all classes of an image
    posterior = crf_posterior(image, scores, GRID)
    unary = unary_from_probabilities(scores / np.maximum(scores.sum(0), 1e-12))
    np.testing.assert_array_equal(posterior, dense_crf(image, unary, GRID))
    np.testing.assert_allclose(crf_posterior(image, 8 * scores, GRID), posterior, atol=1e-5)
    assert posterior.dtype == np.float32 and posterior.sum(0) == pytest.approx(1, abs=1e-5)
