"""AffinityNet's loss and its gradient, by hand."""

import math

import pytest
import torch

from seedbed.methods.psa.loss import affinity_losses


def gradient(loss, variable):
    return torch.autograd.grad(loss, variable)[0]


def test_affinity_loss_by_hand():
    affinities = torch.tensor([[[0.5, 0.25, 0.1], [0.2, 0.75, 0.3]]])
    background = torch.tensor([[[1, 1, 0], [0, 0, 0]]], dtype=torch.bool)
    foreground = torch.tensor([[[0, 0, 0], [1, 0, 0]]], dtype=torch.bool)
    negative = torch.tensor([[[0, 0, 1], [0, 1, 0]]], dtype=torch.bool)
    expected = math.log(8) / 2 / 4 + math.log(5) / 4 - (math.log(0.9) + math.log(0.25)) / 2 / 2
    losses = affinity_losses(affinities, background, foreground, negative)
    assert losses.total.item() == pytest.approx(expected, abs=1e-4)
    assert losses.background.item() == pytest.approx(math.log(8) / 2 / 4, abs=1e-4)
    assert losses.foreground.item() == pytest.approx(math.log(5) / 4, abs=1e-4)
    assert losses.negative.item() == pytest.approx(-(math.log(0.9) + math.log(0.25)) / 4, abs=1e-4)
    numbers = affinity_losses(affinities, background.float(), foreground.int(), negative.byte())
    assert numbers == losses


def test_affinity_loss_averages_over_the_batch_not_per_image():
    affinities = torch.tensor([[[0.5, 0.5, 0.5]], [[0.125, 0.9, 0.9]]])
    background = torch.tensor([[[1, 1, 1]], [[1, 0, 0]]])
    none = torch.zeros_like(background)
    loss = affinity_losses(affinities, background, none, none).total
    assert loss.item() == pytest.approx(6 * math.log(2) / 4 / 4, abs=1e-4)


def test_affinity_loss_gradient():
    rng = torch.Generator().manual_seed(3)
    affinities = torch.rand(2, 34, 6, generator=rng, dtype=torch.double).requires_grad_()
    kind = torch.randint(4, (2, 34, 6), generator=rng)
    masks = [(kind == k).double() for k in range(3)]
    background, foreground, negative = (mask / mask.sum() for mask in masks)
    positive, negative_gradient = -1 / (affinities + 1e-5), 1 / (1 + 1e-5 - affinities)
    expected = (background + foreground) * positive / 4 + negative * negative_gradient / 2
    found = gradient(affinity_losses(affinities, *masks).total, affinities)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert not found[kind == 3].any()


def test_affinity_loss_is_finite_for_the_worst_affinities():
    affinities = torch.tensor([[[0.0, 0.0, 1.0]]], requires_grad=True)
    masks = torch.eye(3)[:, None, None]
    loss = affinity_losses(affinities, *masks).total
    assert loss.item() == pytest.approx(math.log(1e5), rel=1e-3)
    assert gradient(loss, affinities).isfinite().all()


def test_affinity_loss_without_pairs_is_zero_with_a_gradient():
    affinities = torch.rand(1, 34, 4).requires_grad_()
    loss = affinity_losses(affinities, *torch.zeros(3, 1, 34, 4, dtype=torch.bool)).total
    assert loss.item() == 0 and not gradient(loss, affinities).any()
