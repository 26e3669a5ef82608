"""The log of a training: rows of means, and TensorBoard events where tensorboard is installed."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_EVERY = 10  # iterations


class NotFiniteError(Exception):
    """A loss or a weight is NaN or infinite; the message says which and at what iteration."""


class TrainingLog:
    """Rows of a training's values, each the mean over the last LOG_EVERY iterations."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.pending: list[dict[str, Tensor]] = []  # of the iterations since the last row
        self.rate = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Rows and pending values."""
        return vars(self)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        vars(self).update(state)

    def add(self, step: int, rate: float, values: Mapping[str, Tensor]) -> None:
        """Add the values of an iteration.

        Args:
            step: the iteration, counted from 0.
            rate: the learning rate before the multipliers of weights and biases.
            values: scalars by name, "loss" among them.

        """
        self.pending.append(dict(values))
        self.rate = rate
        if (step + 1) % LOG_EVERY == 0:
            self.close_row(step + 1)

    def close_row(self, step: int) -> None:
        """Add a row with the means of the pending values, if any, after `step` iterations.

        Raises:
            NotFiniteError: if one of the losses is not finite.

        """
        self.check_finite(step)
        if self.pending:
            columns = [
                torch.stack([values[name] for values in self.pending]) for name in self.pending[0]
            ]
            means = torch.stack([column.float().mean() for column in columns]).tolist()
            named = dict(zip(self.pending[0], means, strict=True))
            self.rows.append({"step": step, "rate": self.rate, **named})
            self.pending = []

    def check_finite(self, step: int) -> None:
        """NotFiniteError if a loss since the last row, up to `step` iterations, is not finite."""
        if not self.pending:
            return
        losses = torch.stack([values["loss"] for values in self.pending])
        for iteration, loss in enumerate(losses.tolist(), step - len(self.pending) + 1):
            if not math.isfinite(loss):
                raise NotFiniteError(f"the loss is not finite at iteration {iteration}")


class EventLog:
    """Writes new rows of a training's log as TensorBoard scalars.

    Events that an interrupted run wrote for later iterations are purged; a training that starts at
    step 0 removes the event files of any earlier one.

    Args:
        folder: of the event files; None: no events.
        rows: the log of earlier runs.
        step: number of iterations done by earlier runs.

    """

    def __init__(self, folder: Path | None, rows: Sequence[Mapping[str, float]], step: int) -> None:
        self.written = len(rows)
        self.writer = None
        if folder is not None:
            if step == 0:
                for old in folder.glob("events.out.tfevents.*"):
                    old.unlink()
            self.writer = _summary_writer(folder, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is not None:
            self.writer.close()

    def write(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write the rows of the whole log that are new, and flush, so that a kill loses none."""
        if self.writer is None or len(rows) == self.written:
            return
        for row in rows[self.written :]:
            for name, value in row.items():
                if name != "step":
                    self.writer.add_scalar(name, value, row["step"])
        self.writer.flush()
        self.written = len(rows)


def _summary_writer(folder: Path, step: int) -> "SummaryWriter | None":
    try:
        from torch.utils.tensorboard import SummaryWriter  # optional, and slow to import
    except ImportError:
        return None
    return SummaryWriter(folder, purge_step=step + 1 if step else None)
