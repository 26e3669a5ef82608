import multiprocessing

import pytest
import torch
from torch import nn

from seedbed import training
from seedbed.errors import UserError
from seedbed.training import (
    Checkpoint,
    Optimisation,
    make_optimizer,
    make_schedule,
    parameter_groups,
    train,
)

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


def run(batches, path, *, digest="d", schedule="one_cycle", optimizer="adamw", iterations=33):
    torch.manual_seed(0)
    model, objective = Toy(), Regression()
    options = {"optimizer": optimizer, "schedule": schedule, "learning_rate": 0.03}
    rows = train(
        model,
        objective,
        batches,
        Optimisation(iterations, weight_decay=1e-3, **options),
        device=CPU,
        checkpoint=Checkpoint(path, digest),
        seed=5,
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
    checkpoint.remove()
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_names_its_step(batches_until, tmp_path):
    with pytest.raises(UserError, match=r"not finite at iteration 24\b"):
        run(batches_until(spoilt=23), tmp_path / "w")


def test_the_checkpoint_before_such_a_loss_stays(batches_until, tmp_path, monkeypatch):
    always(monkeypatch)
    with pytest.raises(UserError, match=r"iteration 14\b"):
        run(batches_until(spoilt=13), tmp_path / "w")
    assert Checkpoint(tmp_path / "w", "d").load()["step"] == 13


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


def _try_to_lock(path, answers):
    try:
        with Checkpoint(path, "other").lock():
            answers.put("locked")
    except UserError as error:
        answers.put(str(error))


def test_the_lock_refuses_a_second_process(tmp_path):
    path, fork = tmp_path / "new" / "w", multiprocessing.get_context("fork")

    def second():
        answers = fork.SimpleQueue()
        process = fork.Process(target=_try_to_lock, args=(path, answers))
        process.start()
        process.join()
        return answers.get()

    with Checkpoint(path, "d").lock():
        assert "another process is training this" in second()
    assert second() == "locked"
    assert not list(path.parent.iterdir())
