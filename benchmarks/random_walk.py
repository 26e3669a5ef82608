"""The random walk step by step against PSA's dense matrix: `python -m benchmarks.random_walk`.

Both forms take turns in one process, on as many threads each, on the grid of a VOC image (500 x 375
pixels) with 2 and with 20 classes beside background. The dense form is checked to give the same
scores.
"""

from itertools import product

import torch
from torch import Tensor

from benchmarks.pairs import Comparison, compare
from benchmarks.targets import Target
from seedbed.methods.psa.pairs import pair_offsets
from seedbed.methods.psa.walk import random_walk

GRID = (63, 47)
CHANNELS = (3, 21)
THREADS = (1, 2)
TURNS = 3
SEED = 0
BETA = 8.0
# Least ratios, by channels and threads; the dense form uses a second thread fully.
TARGETS = {(3, 1): Target(100), (3, 2): Target(50), (21, 1): Target(30), (21, 2): Target(15)}
SQUARINGS = 8  # 2^8 = 256 steps


def dense_walk(affinities: Tensor, scores: Tensor) -> Tensor:
    """Walk as `random_walk` does, by squaring the matrix of all cells' steps."""
    _, height, width = affinities.shape
    cells = torch.arange(height * width).view(height, width)
    matrix = torch.eye(height * width)
    for affinity, (down, right) in zip(affinities, pair_offsets(), strict=True):
        rows, columns = slice(0, height - down), slice(max(0, -right), width - max(0, right))
        source = cells[rows, columns].flatten()
        partner = source + down * width + right
        matrix[source, partner] = matrix[partner, source] = affinity[rows, columns].flatten()
    matrix = matrix**BETA
    transition = matrix / matrix.sum(dim=0, keepdim=True)
    for _ in range(SQUARINGS):
        transition = transition @ transition
    return (scores.flatten(1) @ transition).view_as(scores)


def measure(channels: int, threads: int) -> Comparison:
    """Both forms in turns."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(SEED)
    affinities = torch.rand(len(pair_offsets()), *GRID, generator=generator)
    scores = torch.rand(channels, *GRID, generator=generator)

    def stepwise() -> Tensor:
        return random_walk(affinities, scores, beta=BETA, steps=2**SQUARINGS)

    def dense() -> Tensor:
        return dense_walk(affinities, scores)

    torch.testing.assert_close(stepwise(), dense(), rtol=1e-3, atol=1e-5)
    return compare(stepwise, dense, TURNS)


if __name__ == "__main__":
    for channels, threads in product(CHANNELS, THREADS):
        size = f"{GRID[0]} x {GRID[1]} cells, {channels} channels"
        found = measure(channels, threads)
        verdict = TARGETS[channels, threads].verdict(found.ratio)
        print(f"random walk, {size}, threads {threads}, seed {SEED}: {found}; target {verdict}")
