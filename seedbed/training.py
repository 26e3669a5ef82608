"""One loop for every training: schedule, checkpoints, log, precision."""

import fcntl
import io
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os.path import samestat
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from seedbed.artefacts import atomic
from seedbed.data.samples import Batch
from seedbed.device import mixed_precision
from seedbed.distributed import ALONE, Team
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


@runtime_checkable
class Gathering(Protocol):
    """An objective that gathers something while training: only of steps that were completed.

    A call appends to `found` what its part of the batch gives, on the CPU; its state stays. When
    the step is done, `keep` takes up what all parts gave, in all processes.
    """

    found: list[Any]

    def keep(self, found: list[Any]) -> None:
        """Take up what was found, in the order of the batch."""


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
        """Keeps the orphan of a killed run and its successor, which waits for it, apart."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_suffix(".lock")
        while True:
            with lock.open("w") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    print(f"{lock}: waits for another process that trains this", flush=True)
                    fcntl.flock(handle, fcntl.LOCK_EX)
                if not (lock.exists() and samestat(lock.stat(), os.fstat(handle.fileno()))):
                    continue  # removed by the one that was waited for
                try:
                    yield
                finally:
                    lock.unlink(missing_ok=True)
                return

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
    team: Team = ALONE,
) -> list[dict[str, float]]:
    """Train in place and return the log, a row every few iterations.

    batches(start): the batches of the steps from `start` on, of a team this process's shares.
    Dropout and the like are drawn from (seed, step), so a resumed training ends with the bytes of
    an undisturbed one. events: a folder for TensorBoard. preview: refreshed now and then, and at
    the end. A GPU that is out of memory gets its batches in smaller parts from there on.

    Raises:
        UserError: if a loss or a weight is not finite, naming the iteration and the last
            checkpoint, which is of before; or if not even one image fits into the GPU.

    """
    model.to(device).train()
    optimizer = make_optimizer(model, optimisation)
    schedule = make_schedule(optimizer, optimisation)
    gradients = _Gradients(model, objective, optimisation, device, seed, team)
    log = _Log()
    parts = {
        "model": model,
        "optimizer": optimizer,
        "schedule": schedule,
        "objective": objective,
        "gradients": gradients,
        "log": log,
    }
    step = checkpoint.restore(parts)
    saved = time.monotonic()
    steps = batches(step)
    if team.leads:
        steps = progress(steps, total=optimisation.iterations, done=step)
    try:
        with EventLog(events if team.leads else None, log.rows, step) as event_log:
            for batch in steps:
                figures = gradients(batch, step)
                optimizer.step()
                log.add(step, schedule.get_last_lr()[-1], figures)
                event_log.write(log.rows)
                schedule.step()
                step += 1
                if team.leads and time.monotonic() - saved > CHECKPOINT_SECONDS:
                    log.check(step)
                    _check_weights(model, optimizer, step)
                    checkpoint.save(step, parts)
                    saved = time.monotonic()
                if preview is not None and team.leads:
                    preview.refresh(model)
            event_log.write(log.close(step))
        _check_weights(model, optimizer, step)
    except _NotFiniteError as error:
        raise UserError(f"{error}; {_way_back(checkpoint)}") from None
    if preview is not None and team.leads:
        preview.write(model)
    return log.rows


class _Gradients:
    """The gradients of a step, computed in as many parts as the GPU's memory demands."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimisation: Optimisation,
        device: torch.device,
        seed: int,
        team: Team,
    ) -> None:
        self.model = model
        self.objective = objective
        self.accumulation = optimisation.accumulation
        self.batch = optimisation.batch
        self.device = device
        self.seed = seed
        self.team = team
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
        self.statistics = [buffer for norm in norms for buffer in norm.buffers()]

    def state_dict(self) -> dict[str, Any]:
        return {"accumulation": self.accumulation}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.accumulation = state["accumulation"]

    @property
    def parts(self) -> int:
        """Parts of this process's share: together no fewer than without the others."""
        return self.accumulation // math.gcd(self.accumulation, self.team.size)

    def __call__(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Leave the gradients of the mean loss in the model; the means of the figures."""
        while (figures := self._attempt(batch, step)) is None:
            self._cut_finer(len(batch.images), step)
        if isinstance(self.objective, Gathering):
            self.objective.keep(self.team.gather(self.objective.found))
            self.objective.found = []
        return self._of_all(figures)

    def _attempt(self, batch: Batch, step: int) -> dict[str, Tensor] | None:
        """The figures; None, and all as it was before, if a device of the team is full."""
        before = [buffer.clone() for buffer in self.statistics]
        # Each process draws for its own share, the first what a process alone would. On the CPU the
        # lower 32 bits of a seed count: by these the ranks lie far apart.
        torch.manual_seed(self.seed * 1_000_003 + step + self.team.rank * 0x9E3779B1)
        self.model.zero_grad(set_to_none=True)
        full = False
        try:
            figures = _accumulate(
                self.model, self.objective, batch.parts(self.parts), step, self.device
            )
        except torch.OutOfMemoryError:
            full = True  # and no more: the error keeps all tensors of the step alive
        if not self.team.any(full):
            return figures
        self.model.zero_grad(set_to_none=True)
        for buffer, value in zip(self.statistics, before, strict=True):
            buffer.copy_(value)
        if isinstance(self.objective, Gathering):
            self.objective.found = []
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _cut_finer(self, images: int, step: int) -> None:
        """At least twice as many equal parts; UserError if each is but one image or group."""
        most = self.batch // self.team.size if self.batch else images
        finer = (n for n in range(2 * self.parts, most + 1) if most % n == 0)
        if (parts := next(finer, None)) is None:
            raise UserError(
                f"GPU out of memory at iteration {step + 1}, though a part of the batch is only "
                f"{images // most} image(s): take a smaller crop, another network, its option "
                "checkpointing if it has one, or a larger GPU"
            )
        self.accumulation = parts * self.team.size
        if self.team.leads:
            print(
                f"GPU out of memory at iteration {step + 1}: from here on a batch is computed in "
                f"{self.accumulation} parts of {images // parts} images, as with accumulation: "
                f"{self.accumulation}; the update stays one of the whole batch",
                file=sys.stderr,
                flush=True,
            )

    def _of_all(self, figures: dict[str, Tensor]) -> dict[str, Tensor]:
        """Average gradients, statistics and figures over the team."""
        if self.team.size == 1:
            return figures
        means = torch.stack([figure.float() for figure in figures.values()])
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        running = [buffer for buffer in self.statistics if buffer.is_floating_point()]
        self.team.average([means, *gradients, *running])
        return dict(zip(figures, means, strict=True))


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


class _NotFiniteError(Exception):
    """What is not finite, and since when."""


def _check_weights(model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """_NotFiniteError if a weight, or what the optimiser remembers of one, is not finite.

    The loss tells only of the weights before its update.
    """
    moments = [value for state in optimizer.state.values() for value in state.values()]
    tensors = [t for t in (*model.state_dict().values(), *moments) if isinstance(t, Tensor)]
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise _NotFiniteError(f"the weights are not finite after iteration {step}")


def _way_back(checkpoint: Checkpoint) -> str:
    """What is left, and what to do."""
    state = checkpoint.load()
    kept = f"{checkpoint.path} holds iteration {state['step']}" if state else "no checkpoint yet"
    return (
        f"{kept}: lower the learning rate, with which it begins anew; the same settings would "
        "stop there again"
    )


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
        """_NotFiniteError if a loss since the last row, before `step`, is not finite."""
        first = step - len(self.pending) + 1
        for iteration, figures in enumerate(self.pending, first):
            if not math.isfinite(figures["loss"]):
                raise _NotFiniteError(f"the loss is not finite at iteration {iteration}")

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
