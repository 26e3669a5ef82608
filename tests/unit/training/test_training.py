import multiprocessing
import sys
import time
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seedbed.data.images import read_image
from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.overlay import cue_preview, overlay
from seedbed.formats.tables import read_tsv
from seedbed.models import build
from seedbed.models.weights import load_network, save_network
from seedbed.runtime.errors import UserError
from seedbed.training import loop as training
from seedbed.training import previews
from seedbed.training.event_log import EventLog
from seedbed.training.loop import Checkpoint, train
from seedbed.training.optimisation import (
    Optimisation,
    make_optimizer,
    make_schedule,
    parameter_groups,
)
from seedbed.training.previews import GAP
from seedbed.training.samples import Request
from stages import train_group as group_stage
from stages.settings import (
    ClassifierSettings,
    GroupSettings,
    RoundSettings,
    TrainingSettings,
)
from stages.train_classifier import train_classifier
from stages.train_round import make_preview, train_round
from stages.training_run import make_network, make_optimisation, make_view, train_network

torch.set_num_threads(1)

CPU = torch.device("cpu")


class Toy(nn.Module):
    new_parts = ("head.",)

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(8, 1)

    def forward(self, images):
        return self.head(self.body(images.flatten(1)))


class Regression:
    """Squared error to the sum of the pixels, and a state that every step enters."""

    def __init__(self):
        self.total = torch.zeros(())

    def __call__(self, model, batch, step):
        wanted = batch.images.sum((1, 2, 3)) / 4
        error = (model(batch.images)[:, 0] - wanted).square().mean()
        self.total = self.total * 0.9 + error.detach()
        return {"loss": error, "total": self.total}

    def state_dict(self):
        return {"total": self.total}

    def load_state_dict(self, state):
        self.total = state["total"]


@pytest.fixture
def batches_until(make_batch):
    """batches(start) of 33 steps, broken off before one or spoilt at one."""

    def make(stop=None, spoilt=None):
        def batches(start):
            for step in range(start, 33):
                if step == stop:
                    raise KeyboardInterrupt
                generator = torch.Generator().manual_seed(step)
                images = torch.randn(8, 3, 2, 2, generator=generator)
                yield make_batch(images * (float("nan") if step == spoilt else 1))

        return batches

    return make


def run(
    batches,
    path,
    *,
    digest="d",
    schedule="one_cycle",
    optimizer="adamw",
    iterations=33,
    accumulation=1,
    model=Toy,
    objective=Regression,
    **watching,
):
    torch.manual_seed(0)
    model, objective = model(), objective()
    options = {"optimizer": optimizer, "schedule": schedule, "learning_rate": 0.03}
    options["accumulation"] = accumulation
    rows = train(
        model,
        objective,
        batches,
        Optimisation(iterations, weight_decay=1e-3, **options),
        device=CPU,
        checkpoint=Checkpoint(path, digest),
        seed=5,
        **watching,
    )
    return model, objective, rows


def same(one, other):
    states = one[0].state_dict(), other[0].state_dict()
    return (
        states[0].keys() == states[1].keys()
        and all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        and torch.equal(one[1].total, other[1].total)
        and one[2] == other[2]
    )


def always(monkeypatch):
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", -1)


def test_training_learns(make_batch, tmp_path):
    images = torch.randn(64, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    batches = lambda start: [make_batch(images)] * 150  # noqa: E731
    _, _, rows = run(batches, tmp_path / "w", schedule="constant", iterations=150)
    assert rows[-1]["loss"] < rows[0]["loss"] / 3
    assert [row["step"] for row in rows] == list(range(10, 151, 10))
    assert not list(tmp_path.iterdir())


def test_the_log_has_means_of_ten_steps_and_of_the_rest(batches_until, tmp_path):
    _, objective, rows = run(batches_until(), tmp_path / "w", schedule="step")
    assert [row["step"] for row in rows] == [10, 20, 30, 33]
    assert list(rows[0]) == ["step", "rate", "loss", "total"]
    assert all(row["rate"] == 0.03 for row in rows)
    assert rows[-1]["total"] != float(objective.total)  # the mean of three, not the last


@pytest.mark.parametrize("stops", [(7,), (20,), (1, 13, 32)])
@pytest.mark.parametrize(
    ("schedule", "optimizer"), [("one_cycle", "adamw"), ("poly", "sgd"), ("step", "adamw")]
)
def test_a_resumed_training_is_an_undisturbed_one(
    batches_until, tmp_path, monkeypatch, stops, schedule, optimizer
):
    settings = {"schedule": schedule, "optimizer": optimizer}
    undisturbed = run(batches_until(), tmp_path / "a", **settings)
    always(monkeypatch)
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            run(batches_until(stop=stop), tmp_path / "b", **settings)
        assert Checkpoint(tmp_path / "b", "d").load()["step"] == stop
    assert same(run(batches_until(), tmp_path / "b", **settings), undisturbed)


def test_a_finished_training_that_was_not_taken_up_ends_at_once(
    batches_until, tmp_path, monkeypatch
):
    always(monkeypatch)
    first = run(batches_until(), tmp_path / "w")
    assert same(run(batches_until(stop=33), tmp_path / "w"), first)


def test_events_are_the_log_without_doubled_steps(batches_until, tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, log_dir, purge_step):
            assert log_dir == tmp_path / "events"
            written[:] = [one for one in written if one[0] < (purge_step or 0)]

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
    always(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(batches_until(stop=25), tmp_path / "w", events=tmp_path / "events")
    assert {step for step, *_ in written} == {10, 20}  # and the checkpoint is of step 14
    _, _, rows = run(batches_until(), tmp_path / "w", events=tmp_path / "events")
    assert written == [
        (row["step"], name, row[name]) for row in rows for name in ("rate", "loss", "total")
    ]


def test_a_preview_is_refreshed_every_step_and_written_at_the_end(batches_until, tmp_path):
    class Preview:
        def refresh(self, model):
            calls.append("refresh")

        def write(self, model):
            calls.append(model)

    calls = []
    model, *_ = run(batches_until(), tmp_path / "w", preview=Preview())
    assert calls == ["refresh"] * 33 + [model]


class Plain(Toy):
    """Without what sees a batch as a whole, and without chance."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 8), nn.ReLU())


class Remembering(Regression):
    """Notes which images it was shown together, and in which step."""

    def __init__(self):
        super().__init__()
        self.shown = []

    def __call__(self, model, batch, step):
        self.shown.append((step, batch.index.tolist()))
        return super().__call__(model, batch, step)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("parts", [2, 8])
def test_a_batch_in_parts_teaches_what_the_whole_does(batches_until, tmp_path, parts, optimizer):
    options = {"model": Plain, "optimizer": optimizer}
    whole, _, rows = run(batches_until(), tmp_path / "a", **options)
    cut, _, other = run(batches_until(), tmp_path / "b", accumulation=parts, **options)
    for one, two in zip(whole.parameters(), cut.parameters(), strict=True):
        torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-5)
    assert [row["loss"] for row in other] == pytest.approx([r["loss"] for r in rows], rel=1e-4)


def test_parts_are_equal_neighbours_and_the_log_has_their_means(batches_until, tmp_path):
    _, objective, rows = run(
        batches_until(), tmp_path / "w", accumulation=4, objective=Remembering, schedule="constant"
    )
    pairs = [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert objective.shown == [(step, pair) for step in range(33) for pair in pairs]
    assert [row["step"] for row in rows] == [10, 20, 30, 33]


def test_the_log_of_parts_by_hand(make_batch, tmp_path):
    class Fixed(Regression):
        def __call__(self, model, batch, step):
            value = batch.images.mean() + 0 * model.head.bias.sum()
            return {"loss": value, "double": 2 * value}

    batches = lambda start: [make_batch(torch.tensor([1.0, 3, 6, 6]).view(4, 1, 1, 1))]  # noqa: E731
    _, _, rows = run(
        batches, tmp_path / "w", iterations=1, accumulation=2, objective=Fixed, schedule="constant"
    )
    assert rows == [{"step": 1, "rate": 0.03, "loss": 4.0, "double": 8.0}]


def test_a_resumed_training_in_parts_is_an_undisturbed_one(batches_until, tmp_path, monkeypatch):
    undisturbed = run(batches_until(), tmp_path / "a", accumulation=2)
    always(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(batches_until(stop=11), tmp_path / "b", accumulation=2)
    assert same(run(batches_until(), tmp_path / "b", accumulation=2), undisturbed)


def test_dropout_depends_on_the_step_alone(batches_until, tmp_path):
    first = run(batches_until(), tmp_path / "a")

    def drawing(start):
        for batch in batches_until()(start):
            torch.rand(3)
            yield batch

    assert same(run(drawing, tmp_path / "b"), first)


def test_a_checkpoint_of_another_digest_is_ignored(batches_until, tmp_path, monkeypatch):
    undisturbed = run(batches_until(), tmp_path / "a")
    always(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run(batches_until(stop=9), tmp_path / "b", digest="other", optimizer="sgd")
    assert Checkpoint(tmp_path / "b", "d").load() is None
    assert same(run(batches_until(), tmp_path / "b"), undisturbed)


def test_a_damaged_checkpoint_is_ignored(batches_until, tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "w", "d")
    assert checkpoint.load() is None
    checkpoint.save(3, {})
    assert checkpoint.load() == {"digest": "d", "step": 3}
    whole = checkpoint.path.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2]):
        checkpoint.path.write_bytes(damaged)
        assert checkpoint.load() is None
    torch.save([1, 2], checkpoint.path)
    assert checkpoint.load() is None


def test_a_loss_that_is_not_finite_names_its_step(batches_until, tmp_path):
    with pytest.raises(UserError, match=r"not finite at iteration 24\b"):
        run(batches_until(spoilt=23), tmp_path / "w")


def stopped(batches, path, **options):
    """The one line that a training ends with."""
    with pytest.raises(UserError) as error:
        run(batches, path, **options)
    return str(error.value)


def all_finite(state):
    return all(bool(value.isfinite().all()) for value in state.values())


def test_the_checkpoint_before_such_a_loss_stays(batches_until, tmp_path, monkeypatch):
    always(monkeypatch)
    line = stopped(batches_until(spoilt=13), tmp_path / "w")
    assert line == (
        f"the loss is not finite at iteration 14; {tmp_path}/w.checkpoint holds iteration 13: lower"
        " the learning rate, with which it begins anew; the same settings would stop there again"
    )
    state = Checkpoint(tmp_path / "w", "d").load()
    assert state["step"] == 13 and all_finite(state["model"])
    assert stopped(batches_until(spoilt=13), tmp_path / "w") == line
    undisturbed = run(batches_until(), tmp_path / "a")
    anew = run(batches_until(), tmp_path / "w", digest="another rate")
    assert same(anew, undisturbed)


class Bursting(Regression):
    """A finite loss whose gradient, in one step, is not, or is beyond what AdamW can square."""

    at, factor = 13, float("nan")

    def __call__(self, model, batch, step):
        figures = super().__call__(model, batch, step)
        if step == self.at:
            figures["loss"].register_hook(lambda gradient: gradient * self.factor)
        return figures


class Huge(Bursting):
    factor = 1e30


class AtTheEnd(Bursting):
    at = 32


@pytest.mark.parametrize("objective", [Bursting, Huge])
def test_weights_that_are_not_finite_are_no_checkpoint(
    batches_until, tmp_path, monkeypatch, objective
):
    always(monkeypatch)
    line = stopped(batches_until(), tmp_path / "w", objective=objective)
    assert line.startswith(
        f"the weights are not finite after iteration 14; {tmp_path}/w.checkpoint holds iteration 13"
    )
    state = Checkpoint(tmp_path / "w", "d").load()
    assert state["step"] == 13 and all_finite(state["model"])


def test_weights_that_are_not_finite_are_no_result(batches_until, tmp_path):
    line = stopped(batches_until(), tmp_path / "w", objective=AtTheEnd)
    assert line.startswith("the weights are not finite after iteration 33; no checkpoint yet: ")
    assert not list(tmp_path.iterdir())


def test_what_is_not_finite_is_found_without_a_checkpoint(batches_until, tmp_path):
    # The weights of iteration 14 make the loss of iteration 15, seen when a row ends.
    line = stopped(batches_until(), tmp_path / "w", objective=Bursting)
    assert line.startswith("the loss is not finite at iteration 15; no checkpoint yet: lower")


def test_the_log_has_the_rate_of_its_step(batches_until, tmp_path):
    _, _, rows = run(batches_until(), tmp_path / "w", schedule="poly", optimizer="sgd")
    last = [row["step"] - 1 for row in rows]
    assert [row["rate"] for row in rows] == pytest.approx(
        [0.03 * (1 - step / 33) ** 0.9 for step in last]
    )


def test_parameter_groups_take_the_four_multipliers():
    model = Toy()
    model.body[1].bias.requires_grad = False
    options = {"learning_rate": 0.1, "weight_decay": 0.01}
    multipliers = (1.0, 2.0, 10.0, 20.0)
    groups = parameter_groups(model, Optimisation(1, multipliers=multipliers, **options))
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 0.2, 1.0, 2.0])
    assert [group["weight_decay"] for group in groups] == [0.01, 0, 0.01, 0]
    members = [{id(p) for p in group["params"]} for group in groups]
    linear, norm, head = model.body[0], model.body[1], model.head
    assert members == [
        {id(linear.weight)},
        {id(linear.bias), id(norm.weight)},
        {id(head.weight)},
        {id(head.bias)},
    ]
    decayed = parameter_groups(model, Optimisation(1, decay_biases=True, **options))
    assert [group["weight_decay"] for group in decayed] == [0.01] * 4


def test_groups_without_parameters_are_left_out():
    model = Toy()
    model.new_parts = ("body.", "head.")
    groups = parameter_groups(model, Optimisation(1, multipliers=(1, 2, 3, 4)))
    assert [group["lr"] for group in groups] == pytest.approx([3e-3, 4e-3])


def test_optimizers():
    sgd = make_optimizer(Toy(), Optimisation(1, optimizer="sgd", momentum=0.7, nesterov=True))
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["momentum"] == 0.7 and sgd.defaults["nesterov"]
    assert isinstance(make_optimizer(Toy(), Optimisation(1)), torch.optim.AdamW)


def rates(iterations, **options):
    """The rate in every iteration, and the one after the last."""
    optimisation = Optimisation(iterations, learning_rate=0.5, optimizer="sgd", **options)
    optimizer = make_optimizer(Toy(), optimisation)
    schedule = make_schedule(optimizer, optimisation)
    found = []
    for _ in range(iterations):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return [*found, schedule.get_last_lr()[0]]


def test_schedules_by_hand():
    assert rates(3, schedule="constant") == [0.5] * 4
    poly = rates(4, schedule="poly", power=2.0)
    assert poly == pytest.approx([0.5, 0.5 * 9 / 16, 0.125, 0.5 / 16, 0])
    steps = rates(5, schedule="step", step_every=2, step_factor=0.1)
    assert steps == pytest.approx([0.5, 0.5, 0.05, 0.05, 0.005, 0.005])
    stones = rates(6, schedule="multi_step", milestones=(1, 4), step_factor=0.1)
    assert stones == pytest.approx([0.5, 0.05, 0.05, 0.05, 0.005, 0.005, 0.005])
    assert rates(2, schedule="multi_step") == [0.5] * 3


def test_one_cycle_rises_for_a_fifth_and_ends_near_nothing():
    found = rates(49, schedule="one_cycle")
    assert found[0] == pytest.approx(0.5 / 25)
    assert found[9] == max(found) == pytest.approx(0.5)
    assert found[49] == pytest.approx(0.5 / 25 / 1e4)
    assert found[:10] == sorted(found[:10]) and found[9:] == sorted(found[9:], reverse=True)


@pytest.mark.parametrize("iterations", range(1, 12))
def test_one_cycle_of_few_iterations(iterations):
    assert all(0 < rate <= 0.5 for rate in rates(iterations, schedule="one_cycle"))


def test_multipliers_last_through_the_schedule(batches_until, tmp_path):
    optimisation = Optimisation(10, multipliers=(1, 2, 10, 20), schedule="one_cycle")
    optimizer = make_optimizer(Toy(), optimisation)
    schedule = make_schedule(optimizer, optimisation)
    for _ in range(3):
        optimizer.step()
        schedule.step()
    rate = schedule.get_last_lr()
    assert [one / rate[0] for one in rate] == pytest.approx([1, 2, 10, 20])


def _lock(path, begin, answers):
    assert begin.wait(60)
    with Checkpoint(path, "other").lock():
        answers.put("locked")
        answers.put("freed")


def test_the_lock_lets_other_processes_wait(tmp_path):
    path, fork = tmp_path / "new" / "w", multiprocessing.get_context("fork")
    begin, answers = fork.Event(), fork.SimpleQueue()
    others = [fork.Process(target=_lock, args=(path, begin, answers)) for _ in range(3)]
    for other in others:
        other.start()
    with Checkpoint(path, "d").lock():
        begin.set()
        others[0].join(0.5)
        assert answers.empty() and all(other.is_alive() for other in others)
    for other in others:
        other.join()
    assert [answers.get() for _ in range(6)] == ["locked", "freed"] * 3  # one after the other
    assert not list(path.parent.iterdir())


def test_the_checkpoint_goes_with_the_end_of_the_training(tmp_path):
    checkpoint = Checkpoint(tmp_path / "w", "d")
    with pytest.raises(UserError), checkpoint.lock():
        checkpoint.save(1, {})
        raise UserError("a reason")
    assert {path.name for path in tmp_path.iterdir()} == {"w.checkpoint"}
    with checkpoint.lock():
        assert checkpoint.restore({}) == 1
    assert not list(tmp_path.iterdir())


def _wait_and_go_on(path, begin, steps):
    assert begin.wait(60)
    checkpoint = Checkpoint(path, "d")
    with checkpoint.lock():
        steps.put(checkpoint.restore({}))
        checkpoint.save(9, {})


def test_the_checkpoint_stays_for_a_process_that_waits(tmp_path, capfd):
    """So that the successor of an orphan does not begin once more."""
    path, fork = tmp_path / "w", multiprocessing.get_context("fork")
    begin, steps = fork.Event(), fork.SimpleQueue()
    others = [fork.Process(target=_wait_and_go_on, args=(path, begin, steps)) for _ in range(2)]
    for other in others:
        other.start()
    said, deadline = "", time.monotonic() + 60
    with Checkpoint(path, "d").lock():
        begin.set()
        while said.count("waits for another process") < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            said += capfd.readouterr().out
        time.sleep(0.3)  # from what they say to their place in the queue
        Checkpoint(path, "d").save(5, {})
    for other in others:
        other.join()
    assert sorted(steps.get() for _ in others) == [5, 9]
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------- the stages


@pytest.fixture
def project(tmp_path):
    """An index of three images with cues and masks, and how to run a stage on them."""
    rng = np.random.default_rng(0)
    entries = []
    with write_maps(tmp_path / "targets.h5") as masks, write_maps(tmp_path / "cues.h5") as cues:
        for name in "abc":
            pixels = rng.integers(0, 256, (40, 36, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / f"{name}.png")
            masks.put(name, rng.integers(0, 3, (40, 36), np.uint8))
            cues.put(name, rng.integers(0, 2, (3, 8, 8), np.uint8))
            entries.append(ImageEntry(name, f"{name}.png", 40, 36, (1, 2), "train", True, ""))
    classes = (ClassInfo("cat", 8), ClassInfo("dog", 12))
    Index(classes, tuple(entries), "annotations").save(tmp_path / "index.json")

    def run_stage(stage, settings, **inputs):
        weights = tmp_path / f"{stage.__name__}.pt"
        stage(
            index=tmp_path / "index.json",
            weights=weights,
            log=tmp_path / "log.tsv",
            settings=settings,
            data=tmp_path,
            device="cpu",
            threads=1,
            deterministic=1,
            **inputs,
        )
        return load_network(weights)[0], read_tsv(tmp_path / "log.tsv")

    run_stage.folder = tmp_path
    return run_stage


BRIEF = {
    "crop": 33,
    "batch": 4,
    "iterations": 3,
    "learning_rate": 5e-3,
    "accumulation": 2,
    "optimizer": {"kind": "adamw"},
    "schedule": {"kind": "multi_step", "milestones": [2]},
}
CUT = {
    **BRIEF,
    "view": {"kind": "crop", "long_side": (30, 44), "hue": 0.1, "placement": "top_left"},
}
SQUARE = {**BRIEF, "view": {"hue": 0.1}}
SEG, CLS = {"network": "tiny_seg"}, {"network": "tiny_cls"}


def test_a_round_begins_with_the_weights_of_the_round_before(project):
    torch.manual_seed(9)
    before = build("tiny_seg", 3)
    save_network(project.folder / "before.pt", before, "tiny_seg", 3, {}, ["b", "cat", "dog"])
    chosen = {**CUT, "optimizer": {"kind": "sgd"}, "learning_rate": 1e-12}
    settings = RoundSettings(supervise="pseudo_labels", weights="previous", **SEG, **chosen)
    after, rows = project(
        train_round,
        settings,
        targets=project.folder / "targets.h5",
        initial=project.folder / "before.pt",
    )
    for one, other in zip(before.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=0)
    assert float(rows[-1]["rate"]) == pytest.approx(1e-13)


GROWN = {"supervise": "seeds", "method": "dsrg", "loss_stride": 8}
MASKED = {"supervise": "ground_truth", "loss_stride": 8}


@pytest.mark.parametrize(
    ("options", "view", "source"),
    [
        (MASKED, {"kind": "crop", "placement": "top_left"}, "targets"),
        (MASKED, {"kind": "warp"}, "targets"),
        (GROWN, {"kind": "warp"}, "cues"),
    ],
)
def test_a_round_is_the_same_with_a_preview(project, monkeypatch, options, view, source):
    monkeypatch.setattr(previews, "PAUSE_SECONDS", -1)
    monkeypatch.setattr(previews, "COST", 1e9)
    monkeypatch.setattr("stages.train_round.PREVIEWED", 2)
    drawn = []
    write = previews.Preview.write
    monkeypatch.setattr(
        previews.Preview,
        "write",
        lambda self, model: (write(self, model), drawn.append(self.path.read_bytes())),
    )
    settings = RoundSettings(**SEG, **options, **BRIEF, view={"hue": 0.1, **view})
    inputs = {source: project.folder / f"{source}.h5"}
    _, rows = project(train_round, settings, **inputs)
    weights = (project.folder / "train_round.pt").read_bytes()
    assert not drawn
    for _ in range(2):
        path = project.folder / "preview.png"
        _, same_rows = project(train_round, settings, **inputs, preview=path)
        assert (project.folder / "train_round.pt").read_bytes() == weights and same_rows == rows
    assert len(drawn) == 8 and drawn[:4] == drawn[4:]
    assert drawn[3] == path.read_bytes()
    with Image.open(path) as picture:
        assert picture.size == (2 * (40 + GAP) + GAP, 3 * (40 + GAP) + GAP)
        first = np.asarray(picture)[GAP : GAP + 40, GAP + 2 : GAP + 38]
    assert np.array_equal(first, read_image(project.folder / "a.png"))


def test_a_preview_shows_what_supervises(project, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "stages.train_round.Preview", lambda *parts, **options: shown.append((parts, options))
    )
    entries = Index.load(project.folder / "index.json").split("train")
    cut = RoundSettings(**SEG, **MASKED, **CUT)
    warped = RoundSettings(**SEG, **GROWN, **SQUARE)
    for name, settings in (("targets", cut), ("cues", warped)):
        maps = Maps(project.folder / f"{name}.h5")
        make_preview(project.folder / "p.png", entries, maps, project.folder, settings)
    (masks, cues), sizes = zip(*shown, strict=True)
    assert [size["size"] for size in sizes] == [None, 33]
    for (path, photos, targets), name, paint in (
        (masks, "targets", overlay),
        (cues, "cues", cue_preview),
    ):
        assert path == project.folder / "p.png" and len(photos) == 3
        for entry, photo, target in zip(entries, photos, targets, strict=True):
            assert np.array_equal(photo, read_image(project.folder / entry.path))
            wanted = paint(photo, Maps(project.folder / f"{name}.h5")[entry.id])
            assert np.array_equal(target, wanted)


def test_events_lie_beside_the_log(project, monkeypatch):
    asked = []

    def record(folder, rows, step):
        asked.append((folder, step))
        return EventLog(None, rows, step)

    monkeypatch.setattr(training, "EventLog", record)
    project(train_classifier, ClassifierSettings(**CLS, **CUT))
    assert asked == [(project.folder / "tensorboard", 0)]


@pytest.mark.parametrize("sampling", ["half_pixel", "corner_aligned", "tf_legacy"])
def test_a_round_trains_on_any_grid_of_labels(project, monkeypatch, sampling):
    handed_on = []

    def record(model, objective, samples, *arguments, **options):
        handed_on.append((objective.resampling, samples[Request(0, 0, 0)].targets.shape))
        assert samples.target_sampling == sampling
        train_network(model, objective, samples, *arguments, **options)

    monkeypatch.setattr("stages.train_round.train_network", record)
    settings = RoundSettings(
        supervise="ground_truth", loss_stride=8, label_sampling=sampling, **SEG, **CUT
    )
    _, rows = project(train_round, settings, targets=project.folder / "targets.h5")
    assert 0 < float(rows[-1]["loss"]) < 5
    cells = 4 if sampling == "half_pixel" else 5
    assert handed_on == [(sampling, (cells, cells))]


def test_seeds_are_trained_on_as_the_port_does(project):
    growing = {
        "grow_on": "softmax",
        "train_unary": "logprob",
        "foreground_threshold": 0.5,
        "background_threshold": 0.7,
        "prefill_seeds": False,
        "crf_image": "tf_legacy",
        "crf_gradient": "none",
        "constraint_clip": None,
    }
    warped = {**SEG, **BRIEF, "view": {"resampling": "tf_legacy"}}
    settings = RoundSettings(supervise="seeds", method="dsrg", dsrg=growing, **warped)
    _, rows = project(train_round, settings, cues=project.folder / "cues.h5")
    assert float(rows[-1]["constraint_loss"]) > 0


def test_a_classifier_trains_on_cut_images(project):
    network, rows = project(train_classifier, ClassifierSettings(**CLS, **CUT))
    assert network(torch.zeros(1, 3, 33, 33)).shape == (1, 2) and float(rows[-1]["loss"]) < 5


@pytest.mark.parametrize("name", ["tiny_seg", "vgg16_largefov"])
def test_the_networks_mean_colour_is_nothing_to_it(name):
    settings = TrainingSettings(network=name, **SQUARE)
    with torch.device("meta"):
        model = build(name, 3)
    colour = torch.tensor(make_view(settings, model).padding)
    assert 100 < colour[2] < colour[1] < colour[0] < 125
    seen = model.preprocess(colour.view(1, 3, 1, 1).expand(1, 3, 4, 4))
    assert seen.abs().max() < 1e-5


def test_the_view_is_the_settings_one():
    chosen = {
        "long_side": (40, 50),
        "scale": (0.5, 1.5),
        "rotate": 3,
        "flip": False,
        "jitter": 0.2,
        "hue": 0.1,
        "placement": "top_left",
    }
    model = build("tiny_seg", 3)

    def view_of(**view):
        return vars(make_view(TrainingSettings(**SEG, **BRIEF, view=view), model))

    view = view_of(kind="crop", padding="black", **chosen)
    assert view["warp"] is False and view["padding"] == (0, 0, 0) and view["crop"] == 33
    assert {name: view[name] for name in chosen} == chosen
    assert view_of(padding="image_mean")["padding"] is None
    assert view_of(resampling="tf_legacy")["resampling"] == "tf_legacy"


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        (
            {
                "optimizer": {"kind": "sgd", "momentum": 0.5, "nesterov": True},
                "schedule": {"kind": "step", "every": 7, "factor": 0.3},
            },
            {"optimizer": "sgd", "momentum": 0.5, "nesterov": True, "weight_decay": 5e-4}
            | {"schedule": "step", "step_every": 7, "step_factor": 0.3},
        ),
        (
            {
                "optimizer": {"kind": "adamw", "weight_decay": 0.2, "decay_biases": True},
                "schedule": {"kind": "multi_step", "milestones": [3, 5]},
                "multipliers": (1, 2, 3, 4),
            },
            {"optimizer": "adamw", "weight_decay": 0.2, "decay_biases": True}
            | {"schedule": "multi_step", "milestones": [3, 5], "step_factor": 0.1}
            | {"multipliers": (1, 2, 3, 4)},
        ),
        ({"schedule": {"kind": "poly", "power": 2}}, {"schedule": "poly", "power": 2}),
        ({"schedule": {"kind": "one_cycle"}}, {"schedule": "one_cycle"}),
    ],
)
def test_the_optimisation_is_the_settings_one(blocks, expected):
    made = vars(make_optimisation(TrainingSettings(**SEG, **{**BRIEF, **blocks})))
    assert {key: made[key] for key in expected} == expected
    shared = ("iterations", "batch", "accumulation", "learning_rate")
    assert all(made[key] == BRIEF[key] for key in shared)


def test_a_new_head_is_not_the_files(tmp_path):
    torch.manual_seed(5)
    torch.save(build("tiny_seg", 3).state_dict(), tmp_path / "w.pth")
    settings = TrainingSettings(**SEG, **BRIEF)
    whole = make_network(settings, 3, tmp_path / "w.pth").state_dict()
    settings = TrainingSettings(**SEG, **BRIEF, new_head=True)
    anew = make_network(settings, 3, tmp_path / "w.pth").state_dict()
    same = {name for name in whole if torch.equal(whole[name], anew[name])}
    assert {name for name in whole if name.startswith("features.")} <= same
    assert "head.classes.weight" not in same


BRIEF_GROUPS = {
    "network": "tiny_group",
    "iterations": 4,
    "batch": 4,
    "crop": 32,
    "learning_rate": 5e-3,
    "group_size": 2,
    "accumulate_from_epoch": 0,
    "accumulate_score": 0,
}


def test_maps_of_a_step_that_ran_out_of_memory_are_not_kept(project, monkeypatch, capsys):
    class Small(group_stage.GroupObjective):
        def __call__(self, model, batch, step):
            figures = super().__call__(model, batch, step)
            if len(batch.images) > 2 * 2:
                self.found[0][0][0].fill_(1e3)
                raise torch.OutOfMemoryError
            return figures

    def maps(name, settings):
        path = project.folder / f"{name}.h5"
        project(group_stage.train_group, GroupSettings(**settings), maps=path)
        kept = Maps(path)
        return {key: kept[key] for key in kept}

    wanted = maps("a", {**BRIEF_GROUPS, "accumulation": 2})
    monkeypatch.setattr(group_stage, "GroupObjective", Small)
    found = maps("b", BRIEF_GROUPS)
    assert "2 parts of 4 images" in capsys.readouterr().err
    assert wanted.keys() == found.keys() == set("abc")
    assert all(np.array_equal(wanted[key], found[key]) and found[key].any() for key in wanted)


def test_out_of_memory_beside_the_batch_is_one_line(project, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nAnd so on.")

    monkeypatch.setattr(torch.optim.AdamW, "step", full)
    with pytest.raises(UserError, match=r"^GPU out of memory beside the batch.*larger GPU$"):
        project(train_classifier, ClassifierSettings(**CLS, **CUT))


def test_partners_are_drawn_as_the_settings_say(project, monkeypatch):
    asked = []

    class Recorded(group_stage.GroupIndex):
        def __init__(self, labels, draws=None):
            asked.append(draws)
            super().__init__(labels, draws)

    monkeypatch.setattr(group_stage, "GroupIndex", Recorded)
    brief = {**BRIEF_GROUPS, "iterations": 1, "batch": 1, "partner_draws": 7}
    project(group_stage.train_group, GroupSettings(**brief), maps=project.folder / "maps.h5")
    assert asked == [7]
