"""Scoring masks against a mask a class: `python -m benchmarks.evaluation`.

Theirs counts truth, prediction and hits of each class from boolean masks, as the evaluators used
with PSA and SEAM do. 60 made-up masks of 375 x 500 pixels; both ways give the same counts.
"""

import numpy as np

from benchmarks.pairs import Comparison, compare
from seedbed.metrics import ConfusionMatrix

IMAGES, CLASSES, SIZE = 60, 21, (375, 500)
TURNS = 5
SEED = 0


def masks() -> list[tuple[np.ndarray, np.ndarray]]:
    """Pairs of truth, with void, and prediction: blobs of a few classes."""
    rng = np.random.default_rng(SEED)
    pairs = []
    for _ in range(IMAGES):
        coarse = rng.choice([0, 0, 0, *rng.integers(1, CLASSES, 2)], (6, 8))
        truth = np.kron(coarse, np.ones((63, 63), dtype=int))[: SIZE[0], : SIZE[1]].astype(np.uint8)
        prediction = np.roll(truth, rng.integers(1, 20, 2), (0, 1))
        truth[rng.random(SIZE) < 0.02] = 255
        pairs.append((truth, prediction))
    return pairs


def count_by_class(pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Pixels true, predicted and hit, (3, C)."""
    counts = np.zeros((3, CLASSES), dtype=np.int64)
    for truth, prediction in pairs:
        known = truth < 255
        for c in range(CLASSES):
            true, predicted = (truth == c) & known, (prediction == c) & known
            counts[:, c] += [true.sum(), predicted.sum(), (true & predicted).sum()]
    return counts


def count_at_once(pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """The same from one confusion matrix."""
    matrix = ConfusionMatrix(CLASSES)
    for truth, prediction in pairs:
        matrix.update(truth, prediction)
    counts = matrix.counts[:, :-1]
    return np.stack([matrix.counts.sum(1), counts.sum(0), counts.diagonal()])


def measure() -> Comparison:
    """Both ways in turns, in one process."""
    pairs = masks()
    if not np.array_equal(count_at_once(pairs), count_by_class(pairs)):
        raise AssertionError("the two ways differ")
    return compare(lambda: count_at_once(pairs), lambda: count_by_class(pairs), TURNS)


if __name__ == "__main__":
    print(f"evaluation, {IMAGES} masks of {SIZE[0]} x {SIZE[1]}, seed {SEED}: {measure()}")
