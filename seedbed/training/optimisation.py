"""How a training changes the weights: optimisers, learning rates and their schedules."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from seedbed.inference.precision import Precision


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), PyTorch's betas.

    Attributes:
        weight_decay: factor of the weights, relative to the learning rate.
        decay_biases: whether weight_decay applies to biases too; see `parameter_groups`.

    """

    weight_decay: float
    decay_biases: bool


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum; decay_biases as for AdamW."""

    momentum: float
    nesterov: bool
    weight_decay: float
    decay_biases: bool


@dataclass(frozen=True, kw_only=True)
class Constant:
    """The learning rate stays."""


@dataclass(frozen=True, kw_only=True)
class Poly:
    """(1 - step / iterations) ** power."""

    power: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """Multiplies the rate by `factor` every `every` iterations."""

    every: int
    factor: float


@dataclass(frozen=True, kw_only=True)
class MultiStep:
    """Multiplies the rate by `factor` at each of the milestones (iterations)."""

    milestones: Sequence[int]
    factor: float


@dataclass(frozen=True, kw_only=True)
class OneCycle:
    """Rises to the learning rate over a fifth of the iterations, then falls to nearly 0.

    PyTorch's OneCycleLR, without a cycle of the momentum.
    """


Optimizer = AdamW | SGD
Schedule = Constant | Poly | Step | MultiStep | OneCycle


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """How a training changes the weights.

    Attributes:
        iterations: number of updates.
        batch: images, or groups of images, of an iteration, over all processes.
        accumulation: number of equal micro-batches in which a batch is computed, see
            `MicroBatchGradients`; their gradients are averaged.
        precision: of the network's operations.
        optimizer: the optimiser and its settings.
        schedule: the course of the learning rate.
        learning_rate: at its highest, before the multipliers.
        multipliers: of the rate of pretrained weights, pretrained biases, new weights and new
            biases (as in Caffe's param blocks).

    """

    iterations: int
    batch: int
    accumulation: int
    precision: Precision
    optimizer: Optimizer
    schedule: Schedule
    learning_rate: float
    multipliers: tuple[float, float, float, float]


def parameter_groups(model: nn.Module, optimisation: Optimisation) -> list[dict[str, Any]]:
    """Four groups: weights and biases of the pretrained parts, weights and biases of the new ones.

    New are the parameters under `model.new_parts`. Biases are all vectors, except for the scales of
    group norms, which are weights as in PSA. The scales of other norms count as biases, so that
    they have no weight decay, as is usual ("no bias decay" of He et al., Bag of Tricks, CVPR 2019):
    the published systems freeze their batch norms and say nothing else.

    Each group also holds its `multiplier` of the learning rate, which `base_rate` needs.
    """
    scales = {id(m.weight) for m in model.modules() if isinstance(m, nn.GroupNorm)}
    groups: list[list[nn.Parameter]] = [[], [], [], []]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            new = name.startswith(model.new_parts)
            bias = parameter.ndim == 1 and id(parameter) not in scales
            groups[2 * new + bias].append(parameter)
    decay = optimisation.optimizer.weight_decay
    decay_biases = optimisation.optimizer.decay_biases
    return [
        {
            "params": parameters,
            "lr": optimisation.learning_rate * multiplier,
            "multiplier": multiplier,
            "weight_decay": decay if decay_biases or not bias else 0.0,
        }
        for parameters, multiplier, bias in zip(
            groups, optimisation.multipliers, (False, True, False, True), strict=True
        )
        if parameters
    ]


def make_optimizer(model: nn.Module, optimisation: Optimisation) -> torch.optim.Optimizer:
    """PyTorch's fused optimiser of the model's parameter groups."""
    groups = parameter_groups(model, optimisation)
    match optimisation.optimizer:
        case AdamW():
            return torch.optim.AdamW(groups, fused=True)
        case SGD(momentum=momentum, nesterov=nesterov):
            return torch.optim.SGD(groups, momentum=momentum, nesterov=nesterov, fused=True)


def base_rate(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate now, as the schedule has it, before the groups' multipliers.

    0 if every multiplier is 0.
    """
    rates = (g["lr"] / g["multiplier"] for g in optimizer.param_groups if g["multiplier"])
    return next(rates, 0.0)


def make_schedule(optimizer: torch.optim.Optimizer, optimisation: Optimisation) -> LRScheduler:
    """PyTorch's scheduler, which is to be stepped after every iteration."""
    schedule, iterations = optimisation.schedule, optimisation.iterations
    if isinstance(schedule, OneCycle):
        return _one_cycle(optimizer, iterations)
    return LambdaLR(optimizer, lambda step: _relative_rate(schedule, step, iterations))


def _relative_rate(schedule: Schedule, step: int, iterations: int) -> float:
    """The rate of an iteration, relative to the learning rate."""
    match schedule:
        case Poly(power=power):
            return max(0.0, 1 - step / iterations) ** power
        case Step(every=every, factor=factor):
            return factor ** (step // every)
        case MultiStep(milestones=milestones, factor=factor):
            return factor ** sum(step >= milestone for milestone in milestones)
    return 1.0


def _one_cycle(optimizer: torch.optim.Optimizer, iterations: int) -> OneCycleLR:
    total = iterations + 1  # the scheduler is stepped after the last iteration too
    peaks = [group["lr"] for group in optimizer.param_groups]
    rise = max(0.2, 2 / total)  # OneCycleLR divides by the length of the rise less one
    return OneCycleLR(optimizer, peaks, total_steps=total, pct_start=rise, cycle_momentum=False)
