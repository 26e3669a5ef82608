"""What a training changes the weights by: optimisers, rates of groups of parameters, schedules."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR


@dataclass(frozen=True)
class Optimisation:
    """How the weights move.

    multipliers: of the rate, for pretrained weights, pretrained biases, new weights, new biases
    (as in Caffe's param blocks). The schedule counts iterations; `step_factor` acts every
    `step_every` of them ("step") or from each of the `milestones` on ("multi_step"). accumulation:
    parts of a batch that are computed one after the other; their gradients are averaged. batch:
    into how many parts it could be cut at most (groups of images stay whole); None: its images.
    """

    iterations: int
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    multipliers: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    weight_decay: float = 0.0
    decay_biases: bool = False
    momentum: float = 0.9
    nesterov: bool = False
    schedule: str = "constant"
    power: float = 0.9
    step_every: int = 1000
    step_factor: float = 0.1
    milestones: Sequence[int] = ()
    accumulation: int = 1
    batch: int | None = None


def parameter_groups(model: nn.Module, optimisation: Optimisation) -> list[dict[str, Any]]:
    """Four groups: weights and biases of the pretrained parts, weights and biases of the new ones.

    New are the parameters under `model.new_parts`. Norm scales count as biases: they are vectors.
    """
    groups: list[list[nn.Parameter]] = [[], [], [], []]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            new, bias = name.startswith(model.new_parts), parameter.ndim == 1
            groups[2 * new + bias].append(parameter)
    decay = optimisation.weight_decay
    return [
        {
            "params": parameters,
            "lr": optimisation.learning_rate * multiplier,
            "weight_decay": decay if optimisation.decay_biases or not bias else 0.0,
        }
        for parameters, multiplier, bias in zip(
            groups, optimisation.multipliers, (False, True, False, True), strict=True
        )
        if parameters
    ]


def make_optimizer(model: nn.Module, optimisation: Optimisation) -> torch.optim.Optimizer:
    """AdamW, or SGD with momentum (keyword arguments: the third positional one is momentum)."""
    groups = parameter_groups(model, optimisation)
    if optimisation.optimizer == "adamw":
        return torch.optim.AdamW(groups)
    return torch.optim.SGD(groups, momentum=optimisation.momentum, nesterov=optimisation.nesterov)


def make_schedule(optimizer: torch.optim.Optimizer, optimisation: Optimisation) -> LRScheduler:
    """The rate as a function of the iteration."""
    o = optimisation
    if o.schedule == "one_cycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        rise = max(0.2, 2 / (o.iterations + 1))  # OneCycleLR divides by the length of the rise
        return OneCycleLR(
            optimizer, peaks, total_steps=o.iterations + 1, pct_start=rise, cycle_momentum=False
        )
    factors: dict[str, Callable[[int], float]] = {
        "constant": lambda step: 1.0,
        "poly": lambda step: max(0.0, 1 - step / o.iterations) ** o.power,
        "step": lambda step: o.step_factor ** (step // o.step_every),
        "multi_step": lambda step: o.step_factor ** sum(step >= m for m in o.milestones),
    }
    return LambdaLR(optimizer, factors[o.schedule])
