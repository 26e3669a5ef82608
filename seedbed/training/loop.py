"""One loop for every training: schedule, checkpoints, log, precision."""

import fcntl
import io
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from os.path import samestat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from seedbed.training.event_log import EventLog
from seedbed.training.gradients import Gradients, Objective
from seedbed.training.optimisation import Optimisation, make_optimizer, make_schedule
from seedbed.training.previews import Preview
from seedbed.training.processes import ALONE, Team
from seedbed.training.samples import Batch

CHECKPOINT_SECONDS = 30.0
LOG_EVERY = 10


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
        """Keep other processes from this training, until what it gives is written.

        A successor waits for the orphan of a killed run. The checkpoint then stays, so that it goes
        on near the end instead of beginning once more; else it goes.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_suffix(".lock")
        while True:
            with lock.open("w") as handle:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    print(f"{lock}: waits for another process that trains this", flush=True)
                    with self._queue.open("w") as place:
                        fcntl.flock(place, fcntl.LOCK_SH)
                        fcntl.flock(handle, fcntl.LOCK_EX)
                if not (lock.exists() and samestat(lock.stat(), os.fstat(handle.fileno()))):
                    continue  # removed by the one that was waited for
                try:
                    yield
                    if not self._awaited():
                        self.path.unlink(missing_ok=True)
                finally:
                    if not self._awaited():
                        lock.unlink(missing_ok=True)
                return

    @property
    def _queue(self) -> Path:
        """A file on which every process that waits holds a shared lock."""
        return self.path.with_suffix(".queue")

    def _awaited(self) -> bool:
        """Whether another process waits; else the queue goes."""
        with suppress(OSError), self._queue.open("w") as place:  # a full disk has no room for one
            try:
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            self._queue.unlink()
        return False

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
    gradients = Gradients(model, objective, optimisation, device, seed, team)
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
