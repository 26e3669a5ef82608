"""A training's log as TensorBoard events, where the package tensorboard is installed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class EventLog:
    """Writes the rows of a log that are new, each figure as a scalar of the row's step.

    folder: of the event files, or None for no events. step: iterations before this run, whose rows
    are `rows`. Events of later steps, left behind by an interrupted run, no longer count; a
    training from the beginning removes the event files of any other.
    """

    def __init__(self, folder: Path | None, rows: Sequence[Mapping[str, float]], step: int) -> None:
        self.written = len(rows)
        self.writer = None
        if folder is not None:
            if step == 0:
                for other in folder.glob("events.out.tfevents.*"):
                    other.unlink()
            self.writer = _writer(folder, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writer is not None:
            self.writer.close()

    def write(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Write what `rows`, the whole log, has had added, and flush it: a kill loses no row."""
        if self.writer is None or len(rows) == self.written:
            return
        for row in rows[self.written :]:
            for name, figure in row.items():
                if name != "step":
                    self.writer.add_scalar(name, figure, row["step"])
        self.writer.flush()
        self.written = len(rows)


def _writer(folder: Path, step: int) -> "SummaryWriter | None":
    try:
        from torch.utils.tensorboard import SummaryWriter  # optional, and slow to import
    except ImportError:
        return None
    return SummaryWriter(folder, purge_step=step + 1 if step else None)
