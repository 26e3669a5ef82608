import sys
from types import ModuleType

import pytest

from seedbed.training.event_log import EventLog

ROWS = [
    {"step": 10, "rate": 0.1, "loss": 3.0},
    {"step": 20, "rate": 0.2, "loss": 2.0},
    {"step": 23, "rate": 0.3, "loss": 1.0},
]


class Writer:
    """What EventLog needs of a SummaryWriter, and what became of it."""

    def __init__(self, log_dir, purge_step=None):
        self.purge_step = purge_step
        self.pending, self.written, self.closed = [], [], False
        log_dir.mkdir(exist_ok=True)
        (log_dir / f"events.out.tfevents.{len(made)}").write_text("")
        made.append(self)

    def add_scalar(self, name, figure, step):
        self.pending.append((name, figure, step))

    def flush(self):
        self.written += self.pending
        self.pending = []

    def close(self):
        self.closed = True


made: list[Writer] = []


@pytest.fixture
def tensorboard(monkeypatch):
    """A stand-in for the package; gives the writers made."""
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    made.clear()
    return made


def scalars(*rows):
    return [(name, row[name], row["step"]) for row in rows for name in ("rate", "loss")]


def test_every_figure_of_a_row_is_written_once_and_at_once(tensorboard, tmp_path):
    with EventLog(tmp_path, [], 0) as log:
        (writer,) = tensorboard
        log.write([])
        log.write(ROWS[:1])
        assert writer.written == scalars(ROWS[0])
        log.write(ROWS[:1])
        assert writer.written == scalars(ROWS[0])
        log.write(ROWS)
        assert writer.written == scalars(*ROWS) and not writer.closed
    assert writer.closed and writer.purge_step is None


def test_it_goes_on_behind_the_rows_of_the_checkpoint(tensorboard, tmp_path):
    with EventLog(tmp_path, ROWS[:1], 14) as log:
        log.write(ROWS[:2])
    (writer,) = tensorboard
    assert writer.written == scalars(ROWS[1]) and writer.purge_step == 15


def test_only_a_training_from_the_beginning_removes_events(tensorboard, tmp_path):
    own = tmp_path / "notes.txt"
    own.touch()
    for step, count in ((0, 1), (5, 2), (7, 3), (0, 1)):
        with EventLog(tmp_path, [], step):
            assert len(list(tmp_path.glob("events*"))) == count
    assert own.exists()


def test_it_is_closed_when_the_training_fails(tensorboard, tmp_path):
    with pytest.raises(KeyboardInterrupt), EventLog(tmp_path, [], 0):
        raise KeyboardInterrupt
    assert tensorboard[0].closed


def test_without_the_package_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with EventLog(tmp_path / "new", [], 0) as log:
        log.write(ROWS)
    assert not list(tmp_path.iterdir())


def test_without_a_folder_nothing_is_written(tensorboard):
    with EventLog(None, [], 0) as log:
        log.write(ROWS)
    assert not tensorboard
