"""Trainings on a device whose memory is too small: on the CPU, by objectives that say so."""

import pytest
import torch
from torch import nn

from seedbed.runtime.errors import UserError
from seedbed.training import loop
from seedbed.training.checkpoint import Checkpoint
from seedbed.training.loop import train
from tests.support.training_helpers import Collector, optimisation

torch.set_num_threads(1)


class Toy(nn.Module):
    """With what a repeated step could change: running statistics and dropout."""

    new_parts = ()

    def __init__(self):
        super().__init__()
        layers = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3)
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 1))

    def forward(self, images):
        return self.layers(images)[:, 0]


class Small(Collector):
    """Squared error on a device that holds `limit(step)` images; collects their positions.

    The error comes late, after running statistics have changed and results are pending.
    """

    def __init__(self, limit):
        super().__init__()
        self.limit = limit
        self.attempts = []

    def __call__(self, model, batch, step):
        self.attempts.append((step, len(batch.images)))
        error = (model(batch.images) - batch.images.sum((1, 2, 3))).square().mean()
        self.pending += batch.index.tolist()
        if len(batch.images) > self.limit(step):
            raise torch.OutOfMemoryError
        return {"loss": error}


@pytest.fixture
def run(make_batch, tmp_path):
    """Trains for twelve steps and gives the network, the objective and the log."""

    def run(limit, *, images=8, stop=None, name="w", objective=Small, **options):
        def batches(start):
            for step in range(start, 12):
                if step == stop:
                    raise KeyboardInterrupt
                generator = torch.Generator().manual_seed(step)
                yield make_batch(torch.randn(images, 3, 2, 2, generator=generator))

        torch.manual_seed(0)
        model = Toy()
        objective = objective(limit if callable(limit) else lambda step: limit)
        options = {"batch": images, "learning_rate": 0.03, **options}
        checkpoint = Checkpoint(tmp_path / name, "d")
        rows = train(
            model,
            objective,
            batches,
            optimisation(12, **options),
            device=torch.device("cpu"),
            checkpoint=checkpoint,
            seed=5,
            threads=1,
        )
        return model, objective, rows

    return run


def same(one, other):
    states = one[0].state_dict(), other[0].state_dict()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert one[1].kept == other[1].kept and one[2] == other[2]


@pytest.mark.parametrize(
    ("images", "limit", "parts", "tried"),
    [(8, 4, 2, [8]), (8, 3, 4, [8, 4]), (8, 1, 8, [8, 4, 2]), (6, 2, 6, [6, 3]), (7, 3, 7, [7])],
)
def test_smaller_parts_give_what_accumulation_gives(run, capsys, images, limit, parts, tried):
    found = run(limit, images=images)
    assert found[1].attempts[: len(tried) + 1] == [*((0, n) for n in tried), (0, images // parts)]
    assert len(found[1].attempts) == len(tried) + 12 * parts
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(tried)
    assert lines[-1] == (
        f"GPU out of memory at iteration 1: from here on a batch is computed in {parts} parts of "
        f"{images // parts} images, as with accumulation: {parts}; each part's loss is normalised "
        "by itself"
    )
    same(found, run(99, images=images, accumulation=parts, name="v"))
    assert found[1].kept == [list(range(images))] * 12


def test_a_part_that_no_longer_fits_in_the_middle_of_a_step(run):
    class Shrinking(Small):
        """From the second part of step 0 on there is room for two images."""

        def __call__(self, model, batch, step):
            self.limit = lambda step: 4 if len(self.attempts) == 1 else 2
            return super().__call__(model, batch, step)

    found = run(0, accumulation=2, objective=Shrinking)
    assert found[1].attempts[:3] == [(0, 4), (0, 4), (0, 2)]
    same(found, run(99, accumulation=4, name="v"))


def test_smaller_parts_stay_and_survive_an_interruption(run, monkeypatch, capsys):
    full_at_five = lambda step: 4 if step == 5 else 99  # noqa: E731
    uninterrupted = run(full_at_five)
    assert [n for step, n in uninterrupted[1].attempts] == [8] * 6 + [4, 4] * 7
    assert "at iteration 6:" in capsys.readouterr().err
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)
    with pytest.raises(KeyboardInterrupt):
        run(full_at_five, stop=9, name="v")
    resumed = run(99, name="v")
    assert resumed[1].attempts[0] == (9, 4)
    same(resumed, uninterrupted)


@pytest.mark.parametrize(("images", "accumulation"), [(4, 1), (3, 3), (1, 1)])
def test_an_image_that_does_not_fit_ends_it_in_one_line(run, images, accumulation):
    with pytest.raises(UserError) as error:
        run(lambda step: 0 if step == 2 else 99, images=images, accumulation=accumulation)
    text = str(error.value)
    assert "\n" not in text and "out of memory at iteration 3, though" in text
    assert "only 1 image(s): take a smaller crop, another network" in text


def test_groups_of_images_stay_whole(run):
    found = run(3, images=12, batch=4)
    assert [n for step, n in found[1].attempts[:3]] == [12, 6, 3]
    with pytest.raises(UserError, match=r"only 3 image\(s\)"):
        run(2, images=12, batch=4, name="v")


def test_other_errors_are_errors(run):
    class Broken(Small):
        def __call__(self, model, batch, step):
            raise RuntimeError("no kernel")

    with pytest.raises(RuntimeError, match="no kernel"):
        run(99, objective=Broken)
