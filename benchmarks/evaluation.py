"""Scoring masks against a mask a class: `python -m benchmarks.evaluation`.

Theirs counts truth, prediction and hits of each class from boolean masks, as the evaluators used
with PSA and SEAM do. 60 synthetic masks of 375 x 500 pixels for each process; both count the same.
"""

from collections.abc import Callable
from multiprocessing import get_context

import numpy as np

from benchmarks.pairs import Comparison, compare
from benchmarks.targets import Target
from seedbed.evaluation.metrics import ConfusionMatrix

IMAGES, CLASSES, SIZE = 60, 21, (375, 500)
PROCESSES = (1, 2)
TURNS = 5
TARGET = Target(5)
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


def measure(processes: int) -> Comparison:
    """Both ways in turns, each process counting all the masks."""
    pairs = masks()
    if not np.array_equal(count_at_once(pairs), count_by_class(pairs)):
        raise AssertionError("the two ways differ")
    with get_context("fork").Pool(processes, _remember, [pairs]) as pool:

        def everywhere(count: Callable[[list], np.ndarray]) -> Callable[[], object]:
            return lambda: pool.map(_count, [count] * processes, chunksize=1)

        return compare(everywhere(count_at_once), everywhere(count_by_class), TURNS)


_pairs: list[tuple[np.ndarray, np.ndarray]] = []


def _remember(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    _pairs[:] = pairs


def _count(count: Callable[[list], np.ndarray]) -> np.ndarray:
    return count(_pairs)


if __name__ == "__main__":
    for processes in PROCESSES:
        title = f"{IMAGES} masks of {SIZE[0]} x {SIZE[1]}, processes {processes}, seed {SEED}"
        found = measure(processes)
        print(f"evaluation, {title}: {found}; target {TARGET.verdict(found.ratio)}")
