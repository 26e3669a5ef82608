"""Gradients of the micro-batches of a batch, and their sum."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seedbed.inference.precision import Precision, autocast
from seedbed.models.dropout import drawing_from
from seedbed.training.objectives.objective import CollectingObjective, Objective
from seedbed.training.samples import Batch

# Multiples of this separate the seeds of the micro-batches: the CPU's generator uses the lower 32
# bits.
SEED_STRIDE = 0x9E3779B1


class MicroBatchResult(NamedTuple):
    """The result of a micro-batch, or the sum of several.

    Attributes:
        values: scalars for the log, by name.
        gradients: of the loss by each trained parameter; None where it has no influence.
        statistics: buffers of the norms in training mode, after the micro-batch.
        collected: what a `CollectingObjective` has collected.

    """

    values: dict[str, Tensor]
    gradients: list[Tensor | None]
    statistics: list[Tensor]
    collected: list[Any]


class MicroBatchGradients:
    """Computes the gradients of micro-batches.

    They are computed one after another or in parallel, with identical bytes.

    A result depends only on the weights and statistics before the iteration, the images, the
    iteration and the micro-batch's number: batch norms normalise over the micro-batch, and dropout
    has a generator of its own. On a CPU up to `threads` micro-batches run in parallel, each with an
    equal share of the threads, so that threads synchronise once per iteration and not in every
    operation.

    Args:
        model: used but never changed; micro-batches change copies of its statistics.
        objective: likewise.
        count: number of micro-batches that are computed in an iteration.
        precision: of the network's operations.
        threads: of the CPU.
        device: the model's device.
        seed: of dropout.

    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        *,
        count: int,
        precision: Precision,
        threads: int,
        device: torch.device,
        seed: int,
    ) -> None:
        self.model = model
        self.objective = objective
        self.precision = precision
        self.device = device
        self.seed = seed
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.statistics = _statistics(model)
        self.replicas: list[nn.Module] = []
        parallel = min(count, threads) if device.type == "cpu" else 1
        torch.set_num_threads(threads // parallel)
        self.pool = (
            ThreadPoolExecutor(
                parallel, "micro-batch", torch.set_num_threads, (threads // parallel,)
            )
            if parallel > 1
            else None
        )

    def __call__(
        self, batches: Sequence[Batch], step: int, first: int
    ) -> Iterator[MicroBatchResult]:
        """Yield the results of micro-batches of iteration `step`, numbered from `first` on."""
        while self.statistics and len(self.replicas) < len(batches):
            self.replicas.append(_replica(self.model, self.statistics))
        models = self.replicas[: len(batches)] or [self.model] * len(batches)
        seeds = [
            self.seed * 1_000_003 + step + number * SEED_STRIDE
            for number in range(first, first + len(batches))
        ]
        steps = [step] * len(batches)
        if self.pool is None:
            return map(self._compute_alone, models, batches, steps, seeds)
        return self.pool.map(self._compute_in_parallel, models, batches, steps, seeds)

    def _compute_alone(
        self, model: nn.Module, batch: Batch, step: int, seed: int
    ) -> MicroBatchResult:
        torch.manual_seed(seed)
        return self._compute(model, batch, step)

    def _compute_in_parallel(
        self, model: nn.Module, batch: Batch, step: int, seed: int
    ) -> MicroBatchResult:
        with drawing_from(Generator().manual_seed(seed)):
            return self._compute(model, batch, step)

    def _compute(self, model: nn.Module, batch: Batch, step: int) -> MicroBatchResult:
        statistics = _statistics(model) if self.statistics else []
        for own, common in zip(statistics, self.statistics, strict=True):
            own.copy_(common)
        objective = self.objective
        if isinstance(objective, CollectingObjective):
            objective = objective.collector()
        with autocast(self.device, self.precision):
            values = objective(model, batch.to(self.device), step)
        gradients = torch.autograd.grad(values["loss"], self.parameters, allow_unused=True)
        return MicroBatchResult(
            values={name: value.detach() for name, value in values.items()},
            gradients=list(gradients),
            statistics=statistics,
            collected=getattr(objective, "pending", []),
        )


def _statistics(model: nn.Module) -> list[Tensor]:
    """The buffers of the batch norms that are in training mode."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    return [buffer for norm in norms for buffer in norm.buffers()]


def _replica(model: nn.Module, statistics: Sequence[Tensor]) -> nn.Module:
    """The model with statistics of its own; all else is shared."""
    own = set(map(id, statistics))
    tensors = (*model.parameters(), *model.buffers())
    shared = {id(tensor): tensor for tensor in tensors if id(tensor) not in own}
    return copy.deepcopy(model, shared)


def add_pairwise(results: Iterable[MicroBatchResult]) -> MicroBatchResult:
    """Add results pair by pair, then the sums pair by pair, and so on.

    2, 4, 8 … results are thus added as two processes with half of them each would, and only few
    sums are in memory at a time.
    """
    sums: list[tuple[int, MicroBatchResult]] = []  # each with the number of results in it
    for result in results:
        size = 1
        while sums and sums[-1][0] == size:
            size, result = 2 * size, _add(sums.pop()[1], result)
        sums.append((size, result))
    _, total = sums.pop()
    while sums:
        total = _add(sums.pop()[1], total)
    return total


def _add(one: MicroBatchResult, other: MicroBatchResult) -> MicroBatchResult:
    return MicroBatchResult(
        values={name: value + other.values[name] for name, value in one.values.items()},
        gradients=[
            _add_gradients(*pair) for pair in zip(one.gradients, other.gradients, strict=True)
        ],
        statistics=[
            mine + theirs if mine.is_floating_point() else mine
            for mine, theirs in zip(one.statistics, other.statistics, strict=True)
        ],
        collected=one.collected + other.collected,
    )


def _add_gradients(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
