"""The random walk step by step against PSA's dense matrix: `python -m benchmarks.random_walk`.

Both forms take turns in one process, on one thread, on the grid of a VOC image (500 x 375 pixels)
with 2 and with 20 classes beside background. The dense form is checked to give the same scores.
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from seedbed.pixel_pairs import pair_offsets
from seedbed.random_walk import random_walk

GRID = (63, 47)
CHANNELS = (3, 21)
TURNS = 3
SEED = 0
BETA = 8.0
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


def seconds(function: Callable[[], Tensor]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(channels: int) -> None:
    """Print the medians of both forms and their ratio."""
    generator = torch.Generator().manual_seed(SEED)
    affinities = torch.rand(len(pair_offsets()), *GRID, generator=generator)
    scores = torch.rand(channels, *GRID, generator=generator)

    def stepwise() -> Tensor:
        return random_walk(affinities, scores, beta=BETA, steps=2**SQUARINGS)

    def dense() -> Tensor:
        return dense_walk(affinities, scores)

    torch.testing.assert_close(stepwise(), dense(), rtol=1e-3, atol=1e-5)  # and warms both up
    times = [(seconds(stepwise), seconds(dense)) for _ in range(TURNS)]
    one, other = (statistics.median(each) for each in zip(*times, strict=True))
    ratios = [b / a for a, b in times]
    print(
        f"{channels:2} channels: step by step {one:.3f} s, dense {other:.2f} s, "
        f"ratio {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
    )


def main() -> None:
    """Run from the command line."""
    torch.set_num_threads(1)
    size = f"{GRID[0]} x {GRID[1]} cells"
    print(f"{size}, seed {SEED}, {TURNS} turns, one thread, torch {torch.__version__}")
    for channels in CHANNELS:
        compare(channels)


if __name__ == "__main__":
    main()
