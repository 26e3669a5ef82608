"""PSA's arg max, by hand."""

import numpy as np
import pytest

from seedbed.methods.psa.pseudo_labels import argmax_labels


def row(*values):
    return np.array([values])


def test_argmax_against_a_constant_background():
    scores = {5: row(0.1, 0.2, 0.3, 0.9), 2: row(0.0, 0.0, 0.3, 1.0)}
    labels = argmax_labels(scores, 0.2)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [[0, 0, 2, 2]]


def test_argmax_against_a_map_of_background():
    scores = {5: row(0.1, 0.2, 0.3, 0.9), 2: row(0.0, 0.0, 0.3, 1.0)}
    assert argmax_labels(scores, row(0.1, 0.1, 0.4, 1.1)).tolist() == [[0, 5, 0, 0]]
    assert argmax_labels(scores, row(0.0, 0.0, 0.0, 0.0)).tolist() == [[5, 5, 2, 2]]


def test_levels_that_equal_the_background_score_are_background():
    for hundredths in (20, 40, 60, 80):
        tie = 255 * hundredths // 100
        levels = np.uint8([[tie - 1, tie, tie + 1]])
        assert argmax_labels({5: levels}, hundredths / 100).tolist() == [[0, 0, 5]]


def test_floating_scores_are_compared_in_their_own_precision():
    """As in PSA, whose scores are float32: 0.2 as float32 is a tie with 0.2."""
    scores = np.float32([[0.2, 0.20000003]])
    assert argmax_labels({5: scores}, 0.2).tolist() == [[0, 5]]


def test_background_of_another_size_is_named():
    for wrong in (row(0.1), np.zeros((4, 1)), np.zeros(4)):
        with pytest.raises(ValueError, match="background_score"):
            argmax_labels({5: row(0.1, 0.2, 0.3, 0.9)}, wrong)


def test_argmax_needs_a_map():
    with pytest.raises(ValueError, match="scores"):
        argmax_labels({}, 0.2)
