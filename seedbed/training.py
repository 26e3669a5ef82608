"""One loop for every training: schedule, checkpoints, log, precision."""

import fcntl
import io
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from seedbed.artefacts import atomic
from seedbed.data.samples import Batch
from seedbed.device import mixed_precision
from seedbed.errors import UserError
from seedbed.event_log import EventLog
from seedbed.previews import Preview
from seedbed.progress import progress

CHECKPOINT_SECONDS = 30.0
LOG_EVERY = 10


class Objective(Protocol):
    """What a training minimises.

    Called with the network and a batch it returns the loss and figures for the log; its state
    (maps gathered while training, say) is kept in the checkpoint.
    """

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Figures for the log; "loss" is minimised."""

    def state_dict(self) -> dict[str, Any]:
        """What must survive an interruption."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up where `state_dict` left off."""


@dataclass(frozen=True)
class Optimisation:
    """How the weights move.

    multipliers: of the rate, for pretrained weights, pretrained biases, new weights, new biases
    (as in Caffe's param blocks). The schedule counts iterations; `step_factor` acts every
    `step_every` of them ("step") or from each of the `milestones` on ("multi_step"). accumulation:
    parts of a batch that are computed one after the other; their gradients are averaged.
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


class Checkpoint:
    """The state of a training that was interrupted, beside the file that it will write.

    No rule declares the file, so Snakemake does not delete it when the job fails. It is taken up
    only under the same digest of settings, code and inputs.
    """

    def __init__(self, target: Path, digest: str) -> None:
        self.path = target.with_name(target.name + ".checkpoint")
        self.digest = digest

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps the orphan of a killed run and its successor apart."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_suffix(".lock")
        with lock.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UserError(
                    f"{lock}: another process is training this; wait for it or end it"
                ) from None
            yield
            lock.unlink(missing_ok=True)

    def save(self, step: int, parts: Mapping[str, Any]) -> None:
        """Write the states of the parts after `step` iterations beside and rename into place."""
        states = {name: part.state_dict() for name, part in parts.items()}
        with atomic(self.path) as path:
            torch.save({"digest": self.digest, "step": step, **states}, path)

    def restore(self, parts: Mapping[str, Any]) -> int:
        """Bring the parts to where they were and give the step; 0 without a checkpoint."""
        if (state := self.load()) is None:
            return 0
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return state["step"]

    def load(self) -> dict[str, Any] | None:
        """The state, or None if there is none or it belongs to another training."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(io.BytesIO(self.path.read_bytes()), weights_only=True)
        except Exception:  # a foreign or damaged file is no checkpoint of ours
            return None
        ours = isinstance(state, dict) and state.get("digest") == self.digest
        return state if ours else None

    def remove(self) -> None:
        """The training is done."""
        self.path.unlink(missing_ok=True)


def train(
    model: nn.Module,
    objective: Objective,
    batches: Callable[[int], Iterable[Batch]],
    optimisation: Optimisation,
    *,
    device: torch.device,
    checkpoint: Checkpoint,
    seed: int,
    events: Path | None = None,
    preview: Preview | None = None,
) -> list[dict[str, float]]:
    """Train in place and return the log, a row every few iterations.

    batches(start): the batches of the steps from `start` on. Dropout and the like are drawn from
    (seed, step), so a resumed training ends with the bytes of an undisturbed one. A loss that is
    not finite ends it with a UserError that names the step; the last checkpoint stays. events: a
    folder for TensorBoard. preview: refreshed now and then, and at the end.
    """
    model.to(device).train()
    optimizer = make_optimizer(model, optimisation)
    schedule = make_schedule(optimizer, optimisation)
    log = _Log()
    parts = {
        "model": model,
        "optimizer": optimizer,
        "schedule": schedule,
        "objective": objective,
        "log": log,
    }
    step = checkpoint.restore(parts)
    saved = time.monotonic()
    with EventLog(events, log.rows, step) as event_log:
        for batch in progress(batches(step), total=optimisation.iterations, done=step):
            torch.manual_seed(seed * 1_000_003 + step)
            optimizer.zero_grad(set_to_none=True)
            figures = _accumulate(
                model, objective, batch.parts(optimisation.accumulation), step, device
            )
            optimizer.step()
            log.add(step, schedule.get_last_lr()[-1], figures)
            event_log.write(log.rows)
            schedule.step()
            step += 1
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                log.check(step)
                checkpoint.save(step, parts)
                saved = time.monotonic()
            if preview is not None:
                preview.refresh(model)
        event_log.write(log.close(step))
    if preview is not None:
        preview.write(model)
    return log.rows


def _accumulate(
    model: nn.Module, objective: Objective, parts: Sequence[Batch], step: int, device: torch.device
) -> dict[str, Tensor]:
    """Gradients of the mean loss of a batch's equal parts, and the means of their figures."""
    found: list[dict[str, Tensor]] = []
    for part in parts:
        with mixed_precision(device):
            figures = objective(model, part.to(device), step)
        (figures["loss"] / len(parts)).backward()
        found.append({name: figure.detach() for name, figure in figures.items()})
    return {name: torch.stack([f[name] for f in found]).mean(0) for name in found[0]}


class _Log:
    """Means of the figures over every few iterations."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.pending: list[dict[str, Tensor]] = []
        self.rate = 0.0

    def state_dict(self) -> dict[str, Any]:
        return vars(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)

    def add(self, step: int, rate: float, figures: Mapping[str, Tensor]) -> None:
        self.pending.append(dict(figures))
        self.rate = rate
        if (step + 1) % LOG_EVERY == 0:
            self.close(step + 1)

    def check(self, step: int) -> None:
        """UserError if a loss since the last row, before `step`, is not finite."""
        first = step - len(self.pending) + 1
        for iteration, figures in enumerate(self.pending, first):
            if not math.isfinite(figures["loss"]):
                raise UserError(
                    f"the loss is not finite at iteration {iteration}: lower the learning rate; "
                    "the last checkpoint is kept"
                )

    def close(self, step: int) -> list[dict[str, float]]:
        self.check(step)
        if self.pending:
            means = {
                k: float(torch.stack([f[k] for f in self.pending]).float().mean())
                for k in self.pending[0]
            }
            self.rows.append({"step": step, "rate": self.rate, **means})
            self.pending = []
        return self.rows
