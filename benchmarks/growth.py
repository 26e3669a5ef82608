"""How costs grow with pixels, labels and images: `python -m benchmarks.growth`; prints a table.

One quantity is doubled again and again, the others stay; the last column is the slope of the line
through the logarithms, 1 where twice as much costs twice as much. One thread, synthetic inputs,
medians of a few turns.
"""

import math
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.crf import GRID_PARAMS, PARAMS
from benchmarks.targets import Target
from seedbed.crf import DenseCRFGrid, dense_crf
from seedbed.evaluation.metrics import ConfusionMatrix
from seedbed.methods.dsrg.growing import grow_seeds
from seedbed.methods.psa.pairs import pair_offsets
from seedbed.methods.psa.walk import random_walk

TURNS = 3
TARGET = Target(1.1, at_most=True)  # of the slope: nothing grows faster than its input
SEED = 0
SIDES = [125, 177, 250, 354, 500]  # pixels double from one to the next
COUNTS = [1, 2, 4, 8, 16]


def smooth(count: int, side: int, cells: int = 8) -> torch.Tensor:
    """Float (count, side, side) that varies over about side / cells pixels."""
    generator = torch.Generator().manual_seed(SEED)
    coarse = torch.randn(1, count, cells, cells, generator=generator)
    return F.interpolate(coarse, (side, side), mode="bicubic")[0]


def photograph(side: int) -> torch.Tensor:
    """RGB uint8 (side, side, 3): patches, slopes and some noise."""
    generator = torch.Generator().manual_seed(SEED)
    patches = 90 * (smooth(3, side) > 0) + 20 * smooth(3, side, 30)
    noise = 3 * torch.randn(patches.shape, generator=generator)
    return (patches + noise + 80).clamp(0, 255).byte().permute(1, 2, 0).contiguous()


def full_crf(labels: int, side: int) -> Callable[[], object]:
    """CRF of one image."""
    image, unary = photograph(side), -(2 * smooth(labels, side, 24)).log_softmax(0)
    return lambda: dense_crf(image, unary, PARAMS)


def grid_crf(images: int) -> Callable[[], object]:
    """CRF of a training step's grids."""
    pictures = photograph(41).permute(2, 0, 1).expand(images, -1, -1, -1)
    unary = -(2 * smooth(21, 41)).softmax(0).expand(images, -1, -1, -1)
    crf = DenseCRFGrid(**GRID_PARAMS)
    return lambda: crf(pictures, unary)


def growing(images: int, classes: int, side: int) -> Callable[[], object]:
    """Growing of a batch."""
    probs = (8 * smooth(images * classes, side).view(images, classes, side, side)).softmax(1)
    generator = torch.Generator().manual_seed(SEED)
    cues = torch.rand(probs.shape, generator=generator) < 0.02
    labels = torch.ones(images, classes)
    return lambda: grow_seeds(
        cues,
        probs,
        labels,
        foreground_threshold=0.85,
        background_threshold=0.99,
        prefill_seeds=True,
    )


def walk(channels: int, side: int) -> Callable[[], object]:
    """PSA's 256 steps."""
    generator = torch.Generator().manual_seed(SEED)
    affinities = torch.rand(len(pair_offsets()), side, side, generator=generator)
    scores = torch.rand(channels, side, side, generator=generator)
    return lambda: random_walk(affinities, scores, beta=8.0, steps=256)


def scoring(classes: int, side: int) -> Callable[[], object]:
    """Counting one mask into the confusion matrix."""
    rng = np.random.default_rng(SEED)
    truth, prediction = rng.integers(0, classes, (2, side, side)).astype(np.uint8)
    matrix = ConfusionMatrix(classes)
    return lambda: matrix.update(truth, prediction)


def milliseconds(function: Callable[[], object]) -> float:
    """Median of a few calls, after one that warms up; short calls are repeated."""
    start = time.perf_counter()
    function()
    repeats = max(1, math.ceil(0.02 / (time.perf_counter() - start)))
    times = []
    for _ in range(TURNS):
        start = time.perf_counter()
        for _ in range(repeats):
            function()
        times.append((time.perf_counter() - start) / repeats)
    return 1000 * statistics.median(times)


def row(
    work: str, quantity: str, sizes: Sequence[int], make: Callable[[int], Callable[[], object]]
) -> str:
    """A line of the table: what is doubled, the times, the slope, and its target."""
    times = [milliseconds(make(size)) for size in sizes]
    amounts = [size**2 if quantity == "pixels" else size for size in sizes]
    slope = np.polyfit(np.log(amounts), np.log(times), 1)[0]
    shown = ", ".join(f"{size}²" if quantity == "pixels" else str(size) for size in sizes)
    return (
        f"| {work} | {quantity}: {shown} | {', '.join(f'{t:.3g}' for t in times)} | {slope:.2f} "
        f"| {TARGET.verdict(slope)} |"
    )


def main() -> None:
    """Run from the command line."""
    torch.set_num_threads(1)
    print("| work | grows with | ms | slope | target |")
    print("|---|---|---|---|---|")
    for line in (
        ("CRF, 21 labels", "pixels", SIDES, lambda side: full_crf(21, side)),
        ("CRF, 354² pixels", "labels", [5, 10, 20, 40, 80], lambda labels: full_crf(labels, 354)),
        ("CRF of grids, 41², 21 labels", "images", COUNTS, grid_crf),
        (
            "growing, 8 images, 21 classes",
            "pixels",
            [21, 29, 41, 58, 82],
            lambda s: growing(8, 21, s),
        ),
        ("growing, 8 images, 41²", "labels", [5, 10, 20, 40, 80], lambda c: growing(8, c, 41)),
        ("growing, 21 classes, 41²", "images", COUNTS, lambda n: growing(n, 21, 41)),
        ("random walk, 3 classes", "pixels", [24, 34, 48, 68, 96], lambda side: walk(3, side)),
        ("random walk, 48² cells", "labels", [3, 6, 12, 24, 48], lambda c: walk(c, 48)),
        ("scoring, 21 classes", "pixels", SIDES, lambda side: scoring(21, side)),
        ("scoring, 354² pixels", "labels", [5, 10, 20, 40, 80], lambda c: scoring(c, 354)),
    ):
        print(row(*line), flush=True)


if __name__ == "__main__":
    main()
