"""The loop of every training: gradients, updates, schedule, checkpoints, log and preview."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from seedbed.training.checkpoint import Checkpoint
from seedbed.training.gradients import Gradients
from seedbed.training.log import EventLog, NotFiniteError, TrainingLog
from seedbed.training.objectives.objective import Objective
from seedbed.training.optimisation import Optimisation, base_rate, make_optimizer, make_schedule
from seedbed.training.previews import Preview
from seedbed.training.processes import SINGLE_PROCESS, ProcessGroup
from seedbed.training.samples import Batch

CHECKPOINT_SECONDS = 30.0


def train(
    model: nn.Module,
    objective: Objective,
    batches: Callable[[int], Iterable[Batch]],
    optimisation: Optimisation,
    *,
    device: torch.device,
    checkpoint: Checkpoint,
    seed: int,
    threads: int,
    events: Path | None = None,
    preview: Preview | None = None,
    processes: ProcessGroup = SINGLE_PROCESS,
) -> list[dict[str, float]]:
    """Train the model in place, on `device`, and return the rows of the log.

    A training continues from its checkpoint. Dropout and other random choices depend on (seed,
    iteration) alone, so a resumed training gives the same bytes as an uninterrupted one. When the
    GPU runs out of memory, batches are computed in smaller micro-batches from there on.

    Args:
        model: the network to train.
        objective: what is minimised.
        batches: batches(start) yields the batches of the iterations from `start`, counted from 0,
            on; with several processes, this process's share of each.
        optimisation: batch, optimiser, schedule and rates.
        device: on which the model is trained.
        checkpoint: of this training.
        seed: of dropout.
        threads: of the CPU, see `MicroBatchGradients`.
        events: folder for TensorBoard; None: no events.
        preview: refreshed at intervals, and written at the end.
        processes: which share each batch.

    Raises:
        UserError: if a loss or a weight is not finite, naming the iteration and the last
            checkpoint, which is from before; or if not even one image fits into the GPU.

    """
    model.to(device).train()
    gradients = Gradients(
        model, objective, optimisation, device, seed=seed, threads=threads, processes=processes
    )
    training = _Training(model, optimisation, gradients)
    step = start = checkpoint.restore(training.state)
    steps = batches(start)
    if processes.is_main:
        steps = progress(steps, total=optimisation.iterations, done=start)
    try:
        with EventLog(events if processes.is_main else None, training.log.rows, start) as event_log:
            recorder = _Recorder(training, checkpoint, event_log, preview)
            for step, batch in enumerate(steps, start + 1):
                training.update(batch, step - 1)
                if processes.is_main:
                    recorder.record(step)
            training.log.close_row(step)
            event_log.write(training.log.rows)
        training.check_finite(step)
    except NotFiniteError as error:
        raise UserError(f"{error}; {_remedy(checkpoint)}") from None
    if preview is not None and processes.is_main:
        preview.write(model)
    return training.log.rows


class _Training:
    """What changes in a training with every iteration."""

    def __init__(self, model: nn.Module, optimisation: Optimisation, gradients: Gradients) -> None:
        self.model = model
        self.objective = gradients.objective
        self.optimizer = make_optimizer(model, optimisation)
        self.schedule = make_schedule(self.optimizer, optimisation)
        self.gradients = gradients
        self.log = TrainingLog()

    @property
    def state(self) -> dict[str, Any]:
        """What a checkpoint saves, by name; each has `state_dict` and `load_state_dict`."""
        return vars(self)

    def update(self, batch: Batch, step: int) -> None:
        """Do iteration `step`, counted from 0."""
        values = self.gradients(batch, step)
        self.optimizer.step()
        self.log.add(step, base_rate(self.optimizer), values)
        self.schedule.step()

    def check_finite(self, step: int) -> None:
        """NotFiniteError if a loss, a weight or a moment of the optimiser is not finite.

        The losses tell only about the weights before the last update.
        """
        self.log.check_finite(step)
        moments = [value for state in self.optimizer.state.values() for value in state.values()]
        tensors = [
            t for t in (*self.model.state_dict().values(), *moments) if isinstance(t, Tensor)
        ]
        if not torch.stack([tensor.isfinite().all() for tensor in tensors]).all():
            raise NotFiniteError(f"the weights are not finite after iteration {step}")


class _Recorder:
    """Writes what shows or saves the state of a training: events, checkpoints and the preview."""

    def __init__(
        self, training: _Training, checkpoint: Checkpoint, events: EventLog, preview: Preview | None
    ) -> None:
        self.training = training
        self.checkpoint = checkpoint
        self.events = events
        self.preview = preview
        self.saved = time.monotonic()

    def record(self, step: int) -> None:
        """Write what is due after `step` iterations."""
        self.events.write(self.training.log.rows)
        if time.monotonic() - self.saved > CHECKPOINT_SECONDS:
            self.training.check_finite(step)
            self.checkpoint.save(step, self.training.state)
            self.saved = time.monotonic()
        if self.preview is not None:
            self.preview.refresh(self.training.model)


def _remedy(checkpoint: Checkpoint) -> str:
    """Which checkpoint is left, and what to do."""
    state = checkpoint.load()
    kept = f"{checkpoint.path} holds iteration {state['step']}" if state else "no checkpoint yet"
    return (
        f"{kept}: lower the learning rate, with which it begins anew; the same settings would "
        "stop there again"
    )
