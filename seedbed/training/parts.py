"""The equal parts of a batch, each computed by itself, and the sum of what they give."""

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

# Multiples of this separate the seeds of the parts: the CPU's generator uses the lower 32 bits.
SEED_STRIDE = 0x9E3779B1


class PartResult(NamedTuple):
    """What a part of a batch gives, or the sum of several parts.

    values: scalars for the log, by name. gradients: of the loss by each trained parameter, None
    where it has no influence. statistics: the buffers of the norms in training mode after the part.
    collected: what a `CollectingObjective` has collected.
    """

    values: dict[str, Tensor]
    gradients: list[Tensor | None]
    statistics: list[Tensor]
    collected: list[Any]


class PartComputer:
    """Computes the parts of a batch, in turn or beside each other, always to the same bytes.

    A part's result depends on the weights and statistics before the iteration, its images, the
    iteration and the part's number alone: batch norms see a part as their batch, and dropout draws
    from a generator of the part. On a CPU up to `threads` parts are computed beside each other,
    each by an equal share of the threads, so that they meet once an iteration instead of in every
    operation: this is faster, and much faster where other programs use the CPUs too.

    model, objective: used but never changed; parts change copies of what they would change.
    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        *,
        parts: int,
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
        beside = min(parts, threads) if device.type == "cpu" else 1
        torch.set_num_threads(threads // beside)
        self.pool = (
            ThreadPoolExecutor(beside, "part", torch.set_num_threads, (threads // beside,))
            if beside > 1
            else None
        )

    def __call__(self, parts: Sequence[Batch], step: int, first: int) -> Iterator[PartResult]:
        """Yield the results of the parts of iteration `step`, whose numbers count from `first`."""
        while self.statistics and len(self.replicas) < len(parts):
            self.replicas.append(_replica(self.model, self.statistics))
        models = self.replicas[: len(parts)] or [self.model] * len(parts)
        seeds = [
            self.seed * 1_000_003 + step + number * SEED_STRIDE
            for number in range(first, first + len(parts))
        ]
        steps = [step] * len(parts)
        if self.pool is None:
            return map(self._alone, models, parts, steps, seeds)
        return self.pool.map(self._beside_others, models, parts, steps, seeds)

    def _alone(self, model: nn.Module, part: Batch, step: int, seed: int) -> PartResult:
        torch.manual_seed(seed)
        return self._compute(model, part, step)

    def _beside_others(self, model: nn.Module, part: Batch, step: int, seed: int) -> PartResult:
        with drawing_from(Generator().manual_seed(seed)):
            return self._compute(model, part, step)

    def _compute(self, model: nn.Module, part: Batch, step: int) -> PartResult:
        statistics = _statistics(model) if self.statistics else []
        for own, common in zip(statistics, self.statistics, strict=True):
            own.copy_(common)
        objective = self.objective
        if isinstance(objective, CollectingObjective):
            objective = objective.collector()
        with autocast(self.device, self.precision):
            values = objective(model, part.to(self.device), step)
        gradients = torch.autograd.grad(values["loss"], self.parameters, allow_unused=True)
        return PartResult(
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


def add_pairwise(results: Iterable[PartResult]) -> PartResult:
    """Add results pair by pair, then the sums pair by pair, and so on.

    2, 4, 8 … results are thus added as two processes with half of them each would, and only few
    sums are in memory at a time.
    """
    sums: list[tuple[int, PartResult]] = []  # each with the number of results in it
    for result in results:
        size = 1
        while sums and sums[-1][0] == size:
            size, result = 2 * size, _add(sums.pop()[1], result)
        sums.append((size, result))
    _, total = sums.pop()
    while sums:
        total = _add(sums.pop()[1], total)
    return total


def _add(one: PartResult, other: PartResult) -> PartResult:
    return PartResult(
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
