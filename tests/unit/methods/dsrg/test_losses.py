"""DSRG's losses and their gradients against closed formulas."""

import math

import pytest
import torch

from seedbed.methods.dsrg.losses import balanced_seed_loss, constraint_loss, smooth_softmax

CAFFE = {"clip": (0.05, 20.0), "crf_gradient": "one_minus_q"}


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(3)


def distributions(rng, spread=1.0):
    """Two images, three classes, 4x5 cells, double precision."""
    logits = spread * torch.randn(2, 3, 4, 5, generator=rng, dtype=torch.double)
    return logits.softmax(1)


def gradient(loss, variable):
    return torch.autograd.grad(loss, variable)[0]


def test_smooth_softmax_has_a_floor_and_sums_to_one():
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


def test_constraint_loss_with_the_published_clip(rng):
    probs, refined = distributions(rng, 3).requires_grad_(), distributions(rng, 3)
    direct, through_crf = hand_gradients(probs, refined, CAFFE["clip"])
    loss_gradient = gradient(constraint_loss(probs, refined, **CAFFE), probs)
    torch.testing.assert_close(loss_gradient, direct + (1 - refined) * through_crf)


def test_constraint_loss_of_the_tensorflow_port(rng):
    probs, refined = distributions(rng).requires_grad_(), distributions(rng)
    loss = constraint_loss(probs, refined, clip=None, crf_gradient="none")
    term = refined / (probs + 1e-8) + 1e-8
    torch.testing.assert_close(loss, (refined * term.log()).sum(1).mean())
    expected = -refined * refined / (probs + 1e-8) ** 2 / term / 40
    torch.testing.assert_close(gradient(loss, probs), expected)


@pytest.mark.parametrize("clip", [(0.05, 20.0), None])
def test_constraint_loss_is_finite_where_the_refined_probability_is_zero(clip):
    probs = torch.tensor([0.5, 0.5]).view(1, 2, 1, 1).requires_grad_()
    refined = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    loss = constraint_loss(probs, refined, clip=clip, crf_gradient="one_minus_q")
    assert loss.item() == pytest.approx(math.log(2))
    assert gradient(loss, probs).isfinite().all()


def test_refined_receives_no_gradient(rng):
    probs, refined = distributions(rng).requires_grad_(), distributions(rng).requires_grad_()
    for mode in ("one_minus_q", "none"):
        constraint_loss(probs, refined, clip=CAFFE["clip"], crf_gradient=mode).backward()
    assert refined.grad is None and probs.grad.any()


def test_unknown_crf_gradient_is_refused():
    probs = torch.full((1, 2, 1, 1), 0.5)
    with pytest.raises(ValueError, match="crf_gradient"):
        constraint_loss(probs, probs, **{**CAFFE, "crf_gradient": "both"})
