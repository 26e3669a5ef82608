"""AffinityNet's objective against pairs counted by hand."""

from math import log

import pytest
import torch
from torch import nn

from seedbed.methods.psa.labels import pair_labels
from seedbed.methods.psa.loss import affinity_losses
from seedbed.methods.psa.pairs import pair_offsets
from seedbed.training.objectives.affinity import AffinityObjective

torch.set_num_threads(1)

KINDS = ("background", "foreground", "negative")


class Fixed(nn.Module):
    """Gives the affinities that it was told, and remembers the images that it saw."""

    def __init__(self, affinities):
        super().__init__()
        self.affinities = affinities

    def preprocess(self, images):
        return images / 255

    def forward(self, images):
        self.saw = images
        return self.affinities


def labelled(*rows):
    return torch.tensor(rows, dtype=torch.uint8)[None]


def test_one_source_by_hand(make_batch):
    """The grid's one source, 0, has 4 background, 2 void, 28 other partners."""
    targets = labelled(
        [7, 7, 7, 7, 0, 0, 0, 0, 0],
        *[[7, 7, 255, 7, 7, 7, 7, 7, 7]] * 2,
        *[[7] * 9] * 2,
    )
    affinities = torch.full((1, 34, 1), 0.25)
    affinities[0, pair_offsets().index((0, 1))] = 0.5
    model = Fixed(affinities)
    figures = AffinityObjective()(
        model, make_batch(torch.full((1, 3, 40, 72), 51.0), targets=targets), 0
    )
    assert torch.allclose(model.saw, torch.tensor(0.2))
    values = {name: value.item() for name, value in figures.items()}
    assert list(values) == [
        "loss",
        *(f"{kind}_loss" for kind in KINDS),
        *(f"{kind}_pairs" for kind in KINDS),
    ]
    background, negative = (3 * log(4) + log(2)) / 4, log(4 / 3)
    assert values["background_loss"] == pytest.approx(background / 4, rel=1e-4)
    assert values["foreground_loss"] == 0
    assert values["negative_loss"] == pytest.approx(negative / 2, rel=1e-4)
    assert values["loss"] == pytest.approx(background / 4 + negative / 2, rel=1e-4)
    assert [values[f"{kind}_pairs"] for kind in KINDS] == pytest.approx([4 / 34, 0, 28 / 34])


def random_case(seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.tensor([0, 0, 1, 2, 255], dtype=torch.uint8)
    targets = values[torch.randint(5, (2, 9, 12), generator=generator)]
    return torch.rand(2, 34, 5 * 4, generator=generator), targets


def test_parts_add_up_to_the_published_loss_and_its_gradient(make_batch):
    affinities, targets = random_case(0)
    expected = affinities.clone().requires_grad_()
    loss = affinity_losses(expected, *pair_labels(targets)).total
    loss.backward()
    affinities.requires_grad_()
    batch = make_batch(torch.zeros(2, 3, 72, 96), targets=targets)
    figures = AffinityObjective()(Fixed(affinities), batch, 0)
    figures["loss"].backward()
    torch.testing.assert_close(figures["loss"], loss)
    torch.testing.assert_close(sum(figures[f"{kind}_loss"] for kind in KINDS), figures["loss"])
    torch.testing.assert_close(affinities.grad, expected.grad)
    assert all(figures[f"{kind}_loss"] > 0 for kind in KINDS)


def test_without_a_sure_pair_there_is_nothing_to_learn(make_batch):
    affinities, targets = random_case(1)
    affinities.requires_grad_()
    batch = make_batch(torch.zeros(2, 3, 72, 96), targets=torch.full_like(targets, 255))
    figures = AffinityObjective()(Fixed(affinities), batch, 0)
    figures["loss"].backward()
    assert not any(value.item() for value in figures.values())
    assert not affinities.grad.any()


def test_another_grid_than_the_labels_is_refused(make_batch):
    affinities, targets = random_case(2)
    batch = make_batch(torch.zeros(2, 3, 72, 96), targets=targets[:, :, 1:])
    with pytest.raises(RuntimeError, match="size"):
        AffinityObjective()(Fixed(affinities), batch, 0)


def test_nothing_is_remembered(make_batch):
    objective = AffinityObjective()
    affinities, targets = random_case(3)
    objective(Fixed(affinities), make_batch(torch.zeros(2, 3, 72, 96), targets=targets), 0)
    assert objective.state_dict() == {}
