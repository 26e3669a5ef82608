"""Plain losses and their gradients, by hand."""

import math

import pytest
import torch

from seedbed.methods.losses import classification_loss, masked_cross_entropy


def gradient(loss, variable):
    return torch.autograd.grad(loss, variable)[0]


def test_cross_entropy_is_the_mean_over_labelled_pixels():
    logits = torch.tensor([[0.0, 2.0, 9.0], [0.0, 0.0, 1.0]]).view(1, 2, 1, 3).requires_grad_()
    target = torch.tensor([[[1, 0, 255]]], dtype=torch.uint8)
    loss = masked_cross_entropy(logits, target)
    expected = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    assert loss.item() == pytest.approx(expected)
    assert not gradient(loss, logits)[..., 2].any()


def test_cross_entropy_without_labelled_pixels_is_zero_with_a_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = masked_cross_entropy(logits, torch.full((1, 2, 2), 255))
    assert loss.item() == 0 and not gradient(loss, logits).any()


def test_classification_loss_by_hand():
    scores, labels = torch.tensor([[0.0, 3.0]]), torch.tensor([[1, 0]], dtype=torch.uint8)
    expected = (math.log(2) + math.log(1 + math.exp(3))) / 2
    assert classification_loss(scores, labels).item() == pytest.approx(expected)


def test_cross_entropy_counts_each_labelled_pixel_of_the_batch_alike():
    """One pixel of the first image, at 1/4, and three of the second, at 1/2."""
    logits = torch.zeros(2, 2, 1, 3)
    logits[0, 0] = math.log(3)
    target = torch.tensor([[[1, 255, 255]], [[0, 1, 1]]])
    loss = masked_cross_entropy(logits, target).item()
    assert loss == pytest.approx((math.log(4) + 3 * math.log(2)) / 4)
