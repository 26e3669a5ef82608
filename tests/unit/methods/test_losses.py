"""Losses and their gradients against formulas written by hand."""

import math

import pytest
import torch

from seedbed.methods.dsrg.losses import balanced_seed_loss, constraint_loss, smooth_softmax
from seedbed.methods.losses import classification_loss, masked_cross_entropy
from seedbed.methods.psa.loss import affinity_loss


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(3)


def distributions(rng, spread=1.0):
    """Two images, three classes, 4x5 cells, double precision."""
    logits = spread * torch.randn(2, 3, 4, 5, generator=rng, dtype=torch.double)
    return logits.softmax(1)


def gradient(loss, variable):
    return torch.autograd.grad(loss, variable)[0]


def test_smooth_softmax_is_lifted_and_sums_to_one():
    probs = smooth_softmax(torch.tensor([[0.0, -1000.0]]))
    expected = torch.tensor([[1.0001 / 1.0002, 0.0001 / 1.0002]])
    torch.testing.assert_close(probs, expected)
    wide = smooth_softmax(torch.randn(2, 5, 3, 3), floor=0.1)
    torch.testing.assert_close(wide.sum(1), torch.ones(2, 3, 3))
    assert wide.min() >= 0.1 / 1.5


def test_seed_loss_by_hand():
    probs = torch.tensor([[0.5, 0.2, 0.1], [0.25, 0.4, 0.1], [0.25, 0.4, 0.8]]).view(1, 3, 1, 3)
    seeds = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]]).view(1, 3, 1, 3)
    expected = -math.log(0.5) - (math.log(0.4) + math.log(0.8)) / 2
    assert balanced_seed_loss(probs, seeds).item() == pytest.approx(expected)
    both = balanced_seed_loss(probs.repeat(2, 1, 1, 1), torch.cat([seeds, 0 * seeds]))
    assert both.item() == pytest.approx(expected / 2)


def test_seed_loss_gradient(rng):
    probs = distributions(rng).requires_grad_()
    seeds = (torch.rand(2, 3, 4, 5, generator=rng) < 0.3).double()
    background, foreground = seeds[:, :1].sum((1, 2, 3)), seeds[:, 1:].sum((1, 2, 3))
    count = torch.stack([background, foreground, foreground], 1)[:, :, None, None]
    expected = -seeds / probs / count / 2
    torch.testing.assert_close(gradient(balanced_seed_loss(probs, seeds), probs), expected)


def test_seed_loss_accepts_bool_and_no_seeds():
    probs = torch.full((1, 2, 2, 2), 0.5, requires_grad=True)
    loss = balanced_seed_loss(probs, torch.zeros(1, 2, 2, 2, dtype=torch.bool))
    assert loss.item() == 0 and not gradient(loss, probs).any()


def hand_gradients(probs, refined, clip):
    """The direct gradient and g = ∂L/∂log q of the clipped loss."""
    cells = probs.numel() // probs.shape[1]
    ratio = refined / probs
    inside = ((ratio > clip[0]) & (ratio < clip[1])).double()
    direct = -refined / probs * inside / cells
    through_crf = refined * (ratio.clamp(*clip).log() + inside) / cells
    return direct, through_crf


@pytest.mark.parametrize("mode", ["one_minus_q", "none"])
def test_constraint_loss_and_gradient(rng, mode):
    probs, refined = distributions(rng, 2).requires_grad_(), distributions(rng, 2)
    clip = (0.2, 4.0)
    loss = constraint_loss(probs, refined, clip=clip, crf_gradient=mode)
    ratio = (refined / probs).clamp(*clip)
    assert 0 < ((ratio == clip[0]) | (ratio == clip[1])).sum() < ratio.numel()
    torch.testing.assert_close(loss, (refined * ratio.log()).sum(1).mean())
    direct, through_crf = hand_gradients(probs, refined, clip)
    expected = direct + ((1 - refined) * through_crf if mode == "one_minus_q" else 0)
    torch.testing.assert_close(gradient(loss, probs), expected)


def test_constraint_loss_defaults_are_the_papers(rng):
    probs, refined = distributions(rng, 3).requires_grad_(), distributions(rng, 3)
    direct, through_crf = hand_gradients(probs, refined, (0.05, 20.0))
    found = gradient(constraint_loss(probs, refined), probs)
    torch.testing.assert_close(found, direct + (1 - refined) * through_crf)


def test_constraint_loss_of_the_port(rng):
    probs, refined = distributions(rng).requires_grad_(), distributions(rng)
    loss = constraint_loss(probs, refined, clip=None, crf_gradient="none")
    term = refined / (probs + 1e-8) + 1e-8
    torch.testing.assert_close(loss, (refined * term.log()).sum(1).mean())
    expected = -refined * refined / (probs + 1e-8) ** 2 / term / 40
    torch.testing.assert_close(gradient(loss, probs), expected)


@pytest.mark.parametrize("clip", [(0.05, 20.0), None])
def test_constraint_loss_survives_a_refined_zero(clip):
    probs = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1).requires_grad_()
    refined = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    loss = constraint_loss(probs, refined, clip=clip)
    assert loss.item() == pytest.approx(math.log(2))
    assert gradient(loss, probs).isfinite().all()


def test_refined_gets_no_gradient(rng):
    probs, refined = distributions(rng).requires_grad_(), distributions(rng).requires_grad_()
    for mode in ("one_minus_q", "none"):
        constraint_loss(probs, refined, crf_gradient=mode).backward()
    assert refined.grad is None and probs.grad.any()


def test_unknown_modes_are_named():
    probs = torch.full((1, 2, 1, 1), 0.5)
    with pytest.raises(ValueError, match="crf_gradient"):
        constraint_loss(probs, probs, crf_gradient="both")
    with pytest.raises(ValueError, match="kind"):
        classification_loss(torch.zeros(1, 2), torch.zeros(1, 2), kind="hinge")


def test_cross_entropy_is_the_mean_over_labelled_cells():
    logits = torch.tensor([[0.0, 2.0, 9.0], [0.0, 0.0, 1.0]]).view(1, 2, 1, 3).requires_grad_()
    target = torch.tensor([[[1, 0, 255]]], dtype=torch.uint8)
    loss = masked_cross_entropy(logits, target)
    expected = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    assert loss.item() == pytest.approx(expected)
    assert not gradient(loss, logits)[..., 2].any()


def test_cross_entropy_without_a_labelled_cell_is_zero_with_a_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = masked_cross_entropy(logits, torch.full((1, 2, 2), 255))
    assert loss.item() == 0 and not gradient(loss, logits).any()


def test_classification_loss_by_hand():
    scores, tags = torch.tensor([[0.0, 3.0]]), torch.tensor([[1, 0]], dtype=torch.uint8)
    expected = (math.log(2) + math.log(1 + math.exp(3))) / 2
    assert classification_loss(scores, tags).item() == pytest.approx(expected)


def test_affinity_loss_by_hand():
    affinities = torch.tensor([[[0.5, 0.25, 0.1], [0.2, 0.75, 0.3]]])
    background = torch.tensor([[[1, 1, 0], [0, 0, 0]]], dtype=torch.bool)
    foreground = torch.tensor([[[0, 0, 0], [1, 0, 0]]], dtype=torch.bool)
    negative = torch.tensor([[[0, 0, 1], [0, 1, 0]]], dtype=torch.bool)
    expected = math.log(8) / 2 / 4 + math.log(5) / 4 - (math.log(0.9) + math.log(0.25)) / 2 / 2
    loss = affinity_loss(affinities, background, foreground, negative)
    assert loss.item() == pytest.approx(expected, abs=1e-4)
    numbers = affinity_loss(affinities, background.float(), foreground.int(), negative.byte())
    assert numbers.item() == loss.item()


def test_affinity_loss_averages_over_the_batch_and_not_over_images():
    affinities = torch.tensor([[[0.5, 0.5, 0.5]], [[0.125, 0.9, 0.9]]])
    background = torch.tensor([[[1, 1, 1]], [[1, 0, 0]]])
    none = torch.zeros_like(background)
    loss = affinity_loss(affinities, background, none, none)
    assert loss.item() == pytest.approx(6 * math.log(2) / 4 / 4, abs=1e-4)


def test_affinity_loss_gradient(rng):
    affinities = torch.rand(2, 34, 6, generator=rng, dtype=torch.double).requires_grad_()
    kind = torch.randint(4, (2, 34, 6), generator=rng)
    masks = [(kind == k).double() for k in range(3)]
    background, foreground, negative = (mask / mask.sum() for mask in masks)
    alike, different = -1 / (affinities + 1e-5), 1 / (1 + 1e-5 - affinities)
    expected = (background + foreground) * alike / 4 + negative * different / 2
    found = gradient(affinity_loss(affinities, *masks), affinities)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert not found[kind == 3].any()


def test_affinity_loss_is_finite_where_it_is_most_wrong():
    affinities = torch.tensor([[[0.0, 0.0, 1.0]]], requires_grad=True)
    masks = torch.eye(3)[:, None, None]
    loss = affinity_loss(affinities, *masks)
    assert loss.item() == pytest.approx(math.log(1e5), rel=1e-3)
    assert gradient(loss, affinities).isfinite().all()


def test_affinity_loss_without_pairs_is_zero_with_a_gradient():
    affinities = torch.rand(1, 34, 4).requires_grad_()
    loss = affinity_loss(affinities, *torch.zeros(3, 1, 34, 4, dtype=torch.bool))
    assert loss.item() == 0 and not gradient(loss, affinities).any()
