"""Benchmark the dense CRF's backends against pydensecrf: `python -m benchmarks.crf`.

All run alternately in one process on the same images: photographs of 500 × 375 pixels with 21 and
with 4 labels, and the 41 × 41 grids of a training step. The table has times of an image (or of a
batch of grids) by the wall clock and by the CPU clock of all threads, medians over the repeats; a
ratio is the time of pydensecrf on one thread divided by the backend's in the same repeat; agreement
is the share of pixels with the same arg max. Targets are those of the ratio by the wall clock.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.targets import Target, verdicts
from seedbed.crf import DenseCRFGrid, dense_crf, unary_from_probabilities

PHOTOGRAPHS = Path(__file__).parents[2] / "shared" / "crf-images"
COUNT = 4
SIZE = (500, 375)  # width and height of most VOC images
GRID, BATCH = 41, 20
PARAMS = {
    "iterations": 10,
    "gaussian_weight": 3,
    "gaussian_sxy": 3,
    "bilateral_weight": 10,
    "bilateral_sxy": 80,
    "bilateral_srgb": 13,
}
GRID_PARAMS = PARAMS | {"gaussian_sxy": 3 / 12, "bilateral_sxy": 80 / 12}


AGREEMENT = Target(0.9999)
# Least ratios with one and with two threads. One torch thread on a grid is bound by its calls.
TORCH = {1: Target(1.5), 2: Target(2.5)}
IMAGE_21 = {"native": {1: Target(7.5), 2: Target(14)}, "torch": TORCH}
IMAGE_4 = {"native": {1: Target(5), 2: Target(9)}, "torch": TORCH}
GRIDS = {"native": {1: Target(7), 2: Target(11)}, "torch": {1: Target(1), 2: Target(1.5)}}


@dataclass
class Case:
    """Rows of the table; `solve` takes a backend and returns posteriors (…, C, H, W).

    targets: of the ratio, by backend and number of threads.
    """

    name: str
    solve: Callable[[str], list[np.ndarray]]
    images: int
    targets: dict[str, dict[int, Target]]

    def verdict(self, backend: str, threads: int, ratio: float, agreement: float) -> str:
        """Whether ratio and agreement reach their targets; pydensecrf has none."""
        if backend == "pydensecrf":
            return ""
        pairs = [(agreement, AGREEMENT)]
        if target := self.targets.get(backend, {}).get(threads):
            pairs.insert(0, (ratio, target))
        return verdicts(*pairs)


def smooth_noise(rng: np.random.Generator, channels: int, cells: int) -> np.ndarray:
    """Float (C, height, width) that varies over about width / cells pixels."""
    coarse = rng.normal(size=(channels, cells, cells)).astype(np.float32)
    layers = [Image.fromarray(noise).resize(SIZE, Image.Resampling.BICUBIC) for noise in coarse]
    return np.stack([np.asarray(layer) for layer in layers])


def photographs() -> list[np.ndarray]:
    """RGB uint8 (375, 500, 3): the photographs available, then images of patches and noise."""
    paths = sorted(PHOTOGRAPHS.glob("im*.png"))[:COUNT]
    images = [np.array(Image.open(path).convert("RGB").resize(SIZE)) for path in paths]
    rng = np.random.default_rng(0)
    while len(images) < COUNT:
        patches = 90 * (smooth_noise(rng, 3, 6) > 0) + 15 * smooth_noise(rng, 3, 60)
        patches += 80 + rng.normal(0, 4, patches.shape)
        images.append(patches.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
    return images


def unaries(labels: int) -> list[np.ndarray]:
    """Energies (C, 375, 500) of smooth, uncertain probabilities."""
    rng = np.random.default_rng(1)
    logits = [torch.from_numpy(2.5 * smooth_noise(rng, labels, 24)) for _ in range(COUNT)]
    return [unary_from_probabilities(image.softmax(0)).numpy() for image in logits]


def cases() -> list[Case]:
    """The three cases of the table."""
    images = photographs()

    def full(labels: int, targets: dict[str, dict[int, Target]]) -> Case:
        energies = unaries(labels)
        return Case(
            f"image, {labels} labels",
            lambda b: dense_crf(images, energies, PARAMS | {"backend": b}),
            COUNT,
            targets,
        )

    def shrink(batch: list[np.ndarray]) -> torch.Tensor:
        whole = torch.stack([torch.from_numpy(batch[i % COUNT]).float() for i in range(BATCH)])
        shifted = torch.stack([image.roll(7 * i, -1) for i, image in enumerate(whole)])
        return torch.nn.functional.interpolate(shifted, (GRID, GRID), mode="bilinear")

    small = shrink([image.transpose(2, 0, 1) for image in images]).round().byte()
    energies = -shrink([np.exp(-unary) for unary in unaries(21)])  # DSRG's energies are −p

    def grids(backend: str) -> list[np.ndarray]:
        return list(DenseCRFGrid(**GRID_PARAMS, backend=backend)(small, energies).numpy())

    return [
        full(21, IMAGE_21),
        full(4, IMAGE_4),
        Case(f"{BATCH} grids, 21 labels", grids, 1, GRIDS),
    ]


def milliseconds(case: Case, backend: str, threads: int) -> tuple[float, float]:
    """Wall time of one image, and CPU time of all threads."""
    torch.set_num_threads(threads)
    wall, cpu = time.perf_counter(), time.process_time()
    case.solve(backend)
    scale = 1e3 / case.images
    return (time.perf_counter() - wall) * scale, (time.process_time() - cpu) * scale


def measure(case: Case, contenders: list[tuple[str, int]], repeats: int) -> None:
    """Print the rows of one case; a contender is a backend and its number of threads."""
    labels = {backend: [q.argmax(0) for q in case.solve(backend)] for backend, _ in contenders}
    times = np.array(
        [[milliseconds(case, *contender) for contender in contenders] for _ in range(repeats)]
    )  # (repeat, contender, clock)
    ratios = times[:, :1] / times
    for column, (backend, threads) in enumerate(contenders):
        same = np.mean([a == b for a, b in zip(labels[backend], labels["pydensecrf"], strict=True)])
        wall, cpu = np.median(times[:, column], axis=0)
        faster, cheaper = np.median(ratios[:, column], axis=0)
        least, most = ratios[:, column, 0].min(), ratios[:, column, 0].max()
        print(
            f"| {case.name} | {backend} | {threads} | {wall:.1f} | {faster:.1f} "
            f"| {least:.1f}–{most:.1f} | {cpu:.1f} | {cheaper:.1f} | {same:.6f} "
            f"| {case.verdict(backend, threads, faster, same)} |",
            flush=True,
        )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--backends", nargs="+", default=["native", "torch"])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    contenders = [("pydensecrf", 1)]
    contenders += [(b, threads) for b in options.backends for threads in options.threads]
    heading = "what | backend | threads | ms | ratio | least–most | CPU ms | ratio | agreement"
    print(f"| {heading} | target |")
    print("|---" * 10 + "|")
    for case in cases():
        measure(case, contenders, options.repeats)


if __name__ == "__main__":
    main()
