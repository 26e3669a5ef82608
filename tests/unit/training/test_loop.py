"""The training loop: resuming, accumulation and values that are not finite."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from seedbed.runtime.errors import UserError
from seedbed.training import loop
from seedbed.training.checkpoint import Checkpoint
from seedbed.training.optimisation import Constant, OneCycle, Poly, Step
from tests.support.training_helpers import (
    Regression,
    Toy,
    adamw,
    optimisation,
    run_toy,
    same_training,
    sgd,
)
from tests.support.waits import CountReads

torch.set_num_threads(1)

POLY = Poly(power=0.9)
STEP = Step(every=1000, factor=0.1)


def test_training_learns(make_batch, tmp_path):
    images = torch.randn(64, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    batches = lambda start: [make_batch(images)] * 150  # noqa: E731
    _, _, rows = run_toy(batches, tmp_path / "w", schedule=Constant(), iterations=150)
    assert rows[-1]["loss"] < rows[0]["loss"] / 3
    assert [row["step"] for row in rows] == list(range(10, 151, 10))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stops", [(7,), (20,), (1, 13, 32)])
@pytest.mark.parametrize(
    ("schedule", "optimizer"), [(OneCycle(), adamw()), (POLY, sgd()), (STEP, adamw())]
)
def test_a_resumed_training_equals_an_uninterrupted_one(
    batches_until, tmp_path, checkpoint_every_step, stops, schedule, optimizer
):
    settings = {"schedule": schedule, "optimizer": optimizer}
    uninterrupted = run_toy(batches_until(), tmp_path / "a", **settings)
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            run_toy(batches_until(stop=stop), tmp_path / "b", **settings)
        assert Checkpoint(tmp_path / "b", "d").load()["step"] == stop
    assert same_training(run_toy(batches_until(), tmp_path / "b", **settings), uninterrupted)


def test_a_checkpoint_of_the_last_iteration_needs_no_further_batch(
    batches_until, tmp_path, checkpoint_every_step
):
    first = run_toy(batches_until(), tmp_path / "w")
    assert same_training(run_toy(batches_until(stop=33), tmp_path / "w"), first)


def test_a_preview_is_refreshed_every_step_and_written_at_the_end(batches_until, tmp_path):
    class Preview:
        def refresh(self, model):
            calls.append("refresh")

        def write(self, model):
            calls.append(model)

    calls = []
    model, *_ = run_toy(batches_until(), tmp_path / "w", watching={"preview": Preview()})
    assert calls == ["refresh"] * 33 + [model]


class Plain(Toy):
    """Without batch norm, which sees a batch as a whole, and without dropout."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 8), nn.ReLU())


class Recording(Regression):
    """Records which images it gets together, and in which step."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __call__(self, model, batch, step):
        self.calls.append((step, batch.index.tolist()))
        return super().__call__(model, batch, step)


@pytest.mark.parametrize("optimizer", [adamw(), sgd()])
@pytest.mark.parametrize("parts", [2, 8])
def test_a_batch_in_parts_has_the_gradients_of_the_whole(batches_until, tmp_path, parts, optimizer):
    options = {"model": Plain, "optimizer": optimizer}
    whole, _, rows = run_toy(batches_until(), tmp_path / "a", **options)
    cut, _, other = run_toy(batches_until(), tmp_path / "b", accumulation=parts, **options)
    for expected, actual in zip(whole.parameters(), cut.parameters(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-3, atol=1e-5)
    assert [row["loss"] for row in other] == pytest.approx([r["loss"] for r in rows], rel=1e-4)


class FirstFive(Regression):
    """The mean position of the images, of which those from the sixth on have no label."""

    def __call__(self, model, batch, step):
        labelled = batch.index[batch.index < 5].float()
        return {"loss": labelled.mean() + 0 * super().__call__(model, batch, step)["loss"]}


@pytest.mark.parametrize(("parts", "loss"), [(1, 2), (2, (1.5 + 4) / 2)])
def test_each_part_normalises_its_own_loss(batches_until, tmp_path, parts, loss):
    options = {"accumulation": parts, "objective": FirstFive}
    *_, rows = run_toy(batches_until(), tmp_path / "w", **options)
    assert [row["loss"] for row in rows] == pytest.approx([loss] * 4)


def test_parts_are_equal_and_contiguous(batches_until, tmp_path):
    _, objective, rows = run_toy(
        batches_until(), tmp_path / "w", accumulation=4, objective=Recording, schedule=Constant()
    )
    pairs = [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert objective.calls == [(step, pair) for step in range(33) for pair in pairs]
    assert [row["step"] for row in rows] == [10, 20, 30, 33]


def test_a_resumed_training_in_parts_equals_an_uninterrupted_one(
    batches_until, tmp_path, checkpoint_every_step
):
    uninterrupted = run_toy(batches_until(), tmp_path / "a", accumulation=2)
    with pytest.raises(KeyboardInterrupt):
        run_toy(batches_until(stop=11), tmp_path / "b", accumulation=2)
    assert same_training(run_toy(batches_until(), tmp_path / "b", accumulation=2), uninterrupted)


def test_dropout_depends_on_the_step_alone(batches_until, tmp_path):
    first = run_toy(batches_until(), tmp_path / "a")

    def drawing(start):
        for batch in batches_until()(start):
            torch.rand(3)
            yield batch

    assert same_training(run_toy(drawing, tmp_path / "b"), first)


def test_a_loss_that_is_not_finite_names_its_step(batches_until, tmp_path):
    with pytest.raises(UserError, match=r"not finite at iteration 24\b"):
        run_toy(batches_until(spoilt=23), tmp_path / "w")


def error_of(batches, path, **options):
    """The message of the UserError that ends a training."""
    with pytest.raises(UserError) as error:
        run_toy(batches, path, **options)
    return str(error.value)


def all_finite(state):
    return all(bool(value.isfinite().all()) for value in state.values())


def test_the_checkpoint_before_a_loss_that_is_not_finite_stays(
    batches_until, tmp_path, checkpoint_every_step
):
    line = error_of(batches_until(spoilt=13), tmp_path / "w")
    assert line == (
        f"the loss is not finite at iteration 14; {tmp_path}/w.checkpoint holds iteration 13: lower"
        " the learning rate, with which it begins anew; the same settings would stop there again"
    )
    state = Checkpoint(tmp_path / "w", "d").load()
    assert state["step"] == 13 and all_finite(state["model"])
    assert error_of(batches_until(spoilt=13), tmp_path / "w") == line
    uninterrupted = run_toy(batches_until(), tmp_path / "a")
    restarted = run_toy(batches_until(), tmp_path / "w", digest="another rate")
    assert same_training(restarted, uninterrupted)


class ExplodingGradient(Regression):
    """A finite loss whose gradient in one step is NaN, or overflows when AdamW squares it."""

    at, factor = 13, float("nan")

    def __call__(self, model, batch, step):
        figures = super().__call__(model, batch, step)
        if step == self.at:
            figures["loss"].register_hook(lambda gradient: gradient * self.factor)
        return figures


class Huge(ExplodingGradient):
    factor = 1e30


class AtTheEnd(ExplodingGradient):
    at = 32


@pytest.mark.parametrize("objective", [ExplodingGradient, Huge])
def test_weights_that_are_not_finite_are_no_checkpoint(
    batches_until, tmp_path, checkpoint_every_step, objective
):
    line = error_of(batches_until(), tmp_path / "w", objective=objective)
    assert line.startswith(
        f"the weights are not finite after iteration 14; {tmp_path}/w.checkpoint holds iteration 13"
    )
    state = Checkpoint(tmp_path / "w", "d").load()
    assert state["step"] == 13 and all_finite(state["model"])


def test_weights_that_are_not_finite_are_no_result(batches_until, tmp_path):
    line = error_of(batches_until(), tmp_path / "w", objective=AtTheEnd)
    assert line.startswith("the weights are not finite after iteration 33; no checkpoint yet: ")
    assert not list(tmp_path.iterdir())


def test_what_is_not_finite_is_found_without_a_checkpoint(batches_until, tmp_path):
    # The weights of iteration 14 make the loss of iteration 15, seen when a row ends.
    line = error_of(batches_until(), tmp_path / "w", objective=ExplodingGradient)
    assert line.startswith("the loss is not finite at iteration 15; no checkpoint yet: lower")


def test_all_weights_are_checked_by_one_read():
    training = loop._Training(Toy(), optimisation(1), SimpleNamespace(objective=None))
    with CountReads() as reads:
        training.check_finite(1)
    assert reads.count == 1
