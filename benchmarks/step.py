"""What CRF, growing and losses cost of a DSRG step: `python -m benchmarks.step`.

The published step on synthetic images and cues: VGG-16 on crops of 321 pixels, CRF and growing on
its 41 x 41 grid with 21 classes, SGD. Its counterpart is the same network's forward and backward
pass under a loss of one operation; what the step takes longer is the share. On a GPU: `--device
cuda --batch 20`, in mixed precision as the training is.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.crf import GRID_PARAMS
from benchmarks.growing import CLASSES, SIDE
from benchmarks.pairs import Comparison, compare
from benchmarks.targets import Target
from seedbed.crf import DenseCRFGrid
from seedbed.inference.precision import autocast
from seedbed.models import build
from seedbed.training.objectives.dsrg import SeedGrowingObjective
from seedbed.training.optimisation import SGD, Constant, Optimisation, make_optimizer
from seedbed.training.samples import Batch

CROP = 321
TURNS = 3
TARGET = Target(0.15, at_most=True)  # of the share
SEED = 0


def made_up_batch(count: int) -> Batch:
    """Smooth images with two classes and background, cues on 5 % of the cells."""
    generator = torch.Generator().manual_seed(SEED)
    coarse = 255 * torch.rand(count, 3, 12, 12, generator=generator)
    images = torch.nn.functional.interpolate(coarse, (CROP, CROP), mode="bilinear")
    tags = torch.zeros(count, CLASSES)
    tags[:, :3] = 1
    cues = torch.rand(count, CLASSES, SIDE, SIDE, generator=generator) < 0.05
    return Batch(
        images=images,
        tags=tags,
        index=torch.arange(count),
        mirrored=torch.zeros(count, dtype=torch.bool),
        targets=cues & (tags[:, :, None, None] > 0),
    )


def steps(device: torch.device, count: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step of DSRG, and one of the network alone."""
    precision = "float32" if device.type == "cpu" else "bfloat16"
    model = build("vgg16_largefov", CLASSES).to(device).train()
    optimisation = Optimisation(
        iterations=1,
        batch=count,
        accumulation=1,
        precision=precision,
        optimizer=SGD(momentum=0.9, nesterov=False, weight_decay=0.0, decay_biases=False),
        schedule=Constant(),
        learning_rate=1e-4,
        multipliers=(1.0, 1.0, 1.0, 1.0),
    )
    optimizer = make_optimizer(model, optimisation)
    batch = made_up_batch(count).to(device)
    dsrg = SeedGrowingObjective(
        DenseCRFGrid(**GRID_PARAMS),
        grow_on="crf",
        train_unary="prob",
        foreground_threshold=0.85,
        background_threshold=0.99,
        prefill_seeds=True,
        crf_image="corner_aligned",
        crf_gradient="one_minus_q",
        constraint_clip=(0.05, 20.0),
        constraint_weight=1.0,
    )

    def step(loss: Callable[[], Tensor]) -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, precision):
            value = loss()
        value.backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    def alone() -> Tensor:
        return model(model.preprocess(batch.images)).float().square().mean()

    return lambda: step(alone), lambda: step(lambda: dsrg(model, batch, 0)["loss"])


def measure(device: str, count: int) -> Comparison:
    """The network alone against the whole step, in turns."""
    return compare(*steps(torch.device(device), count), TURNS)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=2)
    options = parser.parse_args()
    alone, whole, ratio, *_ = measure(options.device, options.batch)
    print(
        f"DSRG step, batch {options.batch} of {CROP} pixels on {options.device}, seed {SEED}: "
        f"{1000 * whole:.0f} ms, of the network alone {1000 * alone:.0f} ms; "
        f"CRF, growing and losses take {1 - 1 / ratio:.1%}; "
        f"target {TARGET.verdict(1 - 1 / ratio)}"
    )


if __name__ == "__main__":
    main()
