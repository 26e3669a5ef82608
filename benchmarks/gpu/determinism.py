"""The same bytes twice with `deterministic: true`, for every kind of training, and its price."""

import warnings
from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.rows import Outcome, Row, Setup
from benchmarks.gpu.trainings import (
    AFFINITY,
    DSRG,
    GROUP,
    RESNET38,
    RESNET101,
    TAGS,
    Case,
    Training,
    make,
)
from seedbed.training.determinism import set_deterministic

STEPS = 3


def trained(case: Case, setup: Setup) -> tuple[Training, list[Tensor]]:
    """A training after a few steps; its losses, weights and statistics, on the CPU."""
    training = make(case, setup)
    losses = []
    for step in range(STEPS):
        torch.manual_seed(step)
        losses.append(training.step())
    tensors = [*losses, *training.model.state_dict().values()]
    return training, [tensor.detach().cpu() for tensor in tensors]


def twice(setup: Setup, *, case: Case) -> Outcome:
    """Two trainings with deterministic algorithms, and the time of a step with and without."""
    set_deterministic(True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _, first = trained(case, setup)
        training, second = trained(case, setup)
    pairs = zip(first, second, strict=True)
    differing = sum(not torch.equal(one, other) for one, other in pairs)
    # What PyTorch has no deterministic algorithm for, it says, and goes on.
    named = {str(w.message).split(" does not have")[0] for w in caught}
    named = {name for name in named if len(name) < 80}
    slow = 1000 * setup.seconds(training.step, 5, 1)
    set_deterministic(False)
    fast = 1000 * setup.seconds(training.step, 5, 2)
    text = f"{differing} of {len(first)} tensors differ; {slow:.1f} ms a step, else {fast:.1f} ms"
    if named:
        text += f"; not deterministic by PyTorch's account: {', '.join(sorted(named))}"
    values = {"differing": differing, "deterministic_ms": slow, "fast_ms": fast}
    return Outcome(text, differing == 0, values | {"named": sorted(named)})


ROWS = tuple(
    Row(f"the same bytes twice: {case.kind}, {case.network}", "equal", partial(twice, case=case))
    for case in (DSRG, RESNET101, RESNET38, TAGS, GROUP, AFFINITY)
)
