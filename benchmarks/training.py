"""An iteration of a training, alone and beside a busy program: `python -m benchmarks.training`.

Batches in two parts, which two threads compute beside each other (`accumulation: 2`), against whole
batches, every operation of which two threads share (`accumulation: 1`). Both take turns in one
process, first while nothing else runs, then while another process keeps one of the CPUs busy.
Then, on CPUs that have instructions for it, the parts in bfloat16 against float32.
Made-up images; networks, batches and crops of the default run and of recipes/voc-animals.yaml.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from benchmarks.targets import Target
from seedbed.inference.precision import Precision, has_bfloat16
from seedbed.models import build
from seedbed.training.gradients import Gradients
from seedbed.training.objectives.masks import MaskObjective
from seedbed.training.objectives.tags import TagObjective
from seedbed.training.optimisation import AdamW, Constant, Optimisation, make_optimizer
from seedbed.training.processes import SINGLE_PROCESS
from seedbed.training.samples import Batch

WORK = (  # network, batch, crop, iterations of a turn
    ("tiny_seg", 16, 128, 20),
    ("tiny_cls", 16, 128, 20),
    ("mobilenet_v2_seg", 12, 192, 3),
)
CLASSES, THREADS, TURNS, SEED = 7, 2, 5, 0
QUIET, BUSY = Target(1), Target(1)  # least ratio of whole batches to parts
SLOWDOWN = Target(2, at_most=True)  # of parts, by a busy program
BFLOAT16 = Target(1)  # least ratio of float32 to bfloat16


@contextmanager
def busy_process() -> Iterator[None]:
    """Another process keeps a CPU busy meanwhile."""
    process = multiprocessing.get_context("spawn").Process(target=_spin, daemon=True)
    process.start()
    time.sleep(1)
    try:
        yield
    finally:
        process.kill()
        process.join()


def _spin() -> None:
    while True:
        pass


def iteration(
    network: str, batch: int, crop: int, parts: int, precision: Precision = "float32"
) -> Callable[[], None]:
    """A function that does an iteration of a training."""
    torch.manual_seed(SEED)
    model = build(network, CLASSES).train()
    optimisation = Optimisation(
        iterations=1,
        batch=batch,
        accumulation=parts,
        precision=precision,
        optimizer=AdamW(weight_decay=0.01, decay_biases=False),
        schedule=Constant(),
        learning_rate=1e-4,
        multipliers=(1.0, 1.0, 1.0, 1.0),
    )
    optimizer = make_optimizer(model, optimisation)
    is_classifier = network.endswith("_cls")
    images = Batch(
        images=255 * torch.rand(batch, 3, crop, crop),
        tags=(torch.rand(batch, CLASSES + is_classifier) < 0.3).float(),
        index=torch.arange(batch),
        mirrored=torch.zeros(batch, dtype=torch.bool),
        targets=torch.randint(0, CLASSES, (batch, crop // 2, crop // 2)).byte(),
    )
    gradients = Gradients(
        model,
        TagObjective() if is_classifier else MaskObjective("half_pixel"),
        optimisation,
        torch.device("cpu"),
        seed=SEED,
        threads=THREADS,
        processes=SINGLE_PROCESS,
    )

    def run() -> None:
        torch.set_num_threads(THREADS // parts)
        gradients(images, 0)
        optimizer.step()

    return run


def seconds(function: Callable[[], None], iterations: int) -> float:
    """Seconds of an iteration, after one that warms up."""
    function()
    start = time.perf_counter()
    for _ in range(iterations):
        function()
    return (time.perf_counter() - start) / iterations


def measure(network: str, batch: int, crop: int, iterations: int) -> None:
    """Print the rows of a network."""
    whole, parts = (iteration(network, batch, crop, parts) for parts in (1, 2))
    times: list[list[float]] = []
    for _ in range(TURNS):
        alone = [seconds(function, iterations) for function in (whole, parts)]
        with busy_process():
            beside = [seconds(function, iterations) for function in (whole, parts)]
        times.append([*alone, *beside])
    quiet_whole, quiet_parts, busy_whole, busy_parts = map(
        statistics.median, zip(*times, strict=True)
    )
    print(f"{network}, batch {batch} of {crop} pixels, {THREADS} threads, seed {SEED}")
    for about, one, two, target in (
        ("alone", quiet_whole, quiet_parts, QUIET),
        ("beside a busy program", busy_whole, busy_parts, BUSY),
    ):
        print(
            f"  {about}: whole batch {1000 * one:.0f} ms, two parts {1000 * two:.0f} ms, "
            f"ratio {one / two:.2f}, target {target.verdict(one / two)}"
        )
    slowdown = busy_parts / quiet_parts
    print(
        f"  slowdown by a busy program: whole batch {busy_whole / quiet_whole:.2f}, "
        f"two parts {slowdown:.2f}, target {SLOWDOWN.verdict(slowdown)}",
        flush=True,
    )


def measure_bfloat16(network: str, batch: int, crop: int, iterations: int) -> None:
    """Print the row of a network in both precisions."""
    functions = [iteration(network, batch, crop, 2, p) for p in ("float32", "bfloat16")]
    times = [[seconds(function, iterations) for function in functions] for _ in range(TURNS)]
    single, half = map(statistics.median, zip(*times, strict=True))
    print(
        f"{network}, two parts: float32 {1000 * single:.0f} ms, bfloat16 {1000 * half:.0f} ms, "
        f"ratio {single / half:.2f}, target {BFLOAT16.verdict(single / half)}",
        flush=True,
    )


def main() -> None:
    """Run from the command line."""
    for work in WORK:
        measure(*work)
    if has_bfloat16(torch.device("cpu")):
        for work in WORK:
            measure_bfloat16(*work)


if __name__ == "__main__":
    main()
