"""The log: means of rows, and their TensorBoard events."""

import sys
from types import ModuleType

import pytest
import torch

from seedbed.training.checkpoint import Checkpoint
from seedbed.training.log import EventLog, TrainingLog
from seedbed.training.optimisation import Constant, Poly, Step
from tests.support.training_helpers import Regression, run_toy, sgd
from tests.support.waits import CountReads

torch.set_num_threads(1)

STEP = Step(every=1000, factor=0.1)


def test_the_log_has_means_of_ten_steps_and_of_the_rest(batches_until, tmp_path):
    _, objective, rows = run_toy(batches_until(), tmp_path / "w", schedule=STEP)
    assert [row["step"] for row in rows] == [10, 20, 30, 33]
    assert list(rows[0]) == ["step", "rate", "loss", "total"]
    assert all(row["rate"] == 0.03 for row in rows)
    assert rows[-1]["total"] != float(objective.total)  # the mean of three, not the last


def test_the_log_of_parts_by_hand(make_batch, tmp_path):
    class Fixed(Regression):
        def __call__(self, model, batch, step):
            value = batch.images.mean() + 0 * model.head.bias.sum()
            return {"loss": value, "double": 2 * value}

    batches = lambda start: [make_batch(torch.tensor([1.0, 3, 6, 6]).view(4, 1, 1, 1))]  # noqa: E731
    _, _, rows = run_toy(
        batches, tmp_path / "w", iterations=1, accumulation=2, objective=Fixed, schedule=Constant()
    )
    assert rows == [{"step": 1, "rate": 0.03, "loss": 4.0, "double": 8.0}]


def test_the_log_has_the_rate_of_its_step(batches_until, tmp_path):
    _, _, rows = run_toy(batches_until(), tmp_path / "w", schedule=Poly(power=0.9), optimizer=sgd())
    last = [row["step"] - 1 for row in rows]
    assert [row["rate"] for row in rows] == pytest.approx(
        [0.03 * (1 - step / 33) ** 0.9 for step in last]
    )


def test_a_row_is_read_from_the_device_by_two_reads():
    log = TrainingLog()
    with CountReads() as reads:
        for step in range(10):
            log.add(step, 0.1, {name: torch.tensor(step / 7) for name in ("loss", "a", "b")})
    (row,) = log.rows
    mean = float(torch.tensor([step / 7 for step in range(10)]).mean())
    assert row == {"step": 10, "rate": 0.1, "loss": mean, "a": mean, "b": mean}
    assert reads.count == 2


@pytest.mark.parametrize("schedule", [STEP, Poly(power=0.9)])
def test_the_rate_is_the_base_rate_whatever_the_multipliers(batches_until, tmp_path, schedule):
    options = {"learning_rate": 5e-4, "schedule": schedule, "optimizer": sgd()}
    rates = [
        [row["rate"] for row in run_toy(batches_until(), tmp_path / "w", **options, **factors)[2]]
        for factors in ({}, {"multipliers": (1, 2, 10, 20)})
    ]
    assert rates[1] == rates[0]
    assert rates[0][0] == pytest.approx(5e-4 if schedule == STEP else 5e-4 * (24 / 33) ** 0.9)


def test_events_are_the_log_without_doubled_steps(
    batches_until, tmp_path, monkeypatch, checkpoint_every_step
):
    written = []

    class SummaryWriter:
        def __init__(self, log_dir, purge_step):
            assert log_dir == tmp_path / "events"
            written[:] = [event for event in written if event[0] < (purge_step or 0)]

        def add_scalar(self, name, figure, step):
            written.append((step, name, figure))

        flush = close = lambda self: None

    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    saves = iter([False] * 13 + [True] + [False] * 99)
    save = Checkpoint.save
    monkeypatch.setattr(
        Checkpoint, "save", lambda *arguments: save(*arguments) if next(saves) else None
    )
    with pytest.raises(KeyboardInterrupt):
        run_toy(batches_until(stop=25), tmp_path / "w", watching={"events": tmp_path / "events"})
    assert {step for step, *_ in written} == {10, 20}  # and the checkpoint is of step 14
    _, _, rows = run_toy(batches_until(), tmp_path / "w", watching={"events": tmp_path / "events"})
    assert written == [
        (row["step"], name, row[name]) for row in rows for name in ("rate", "loss", "total")
    ]


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
