"""The dense CRF on a GPU: the same bytes twice, and the CPU's posterior within rounding."""

import torch

from seedbed.crf import DenseCRFGrid
from tests.unit.crf.test_backends import energies, picture
from tests.unit.crf.test_crf import GRID


def test_gpu_agrees_and_repeats():
    images = torch.stack([torch.from_numpy(picture(41, 41, seed)) for seed in range(4)])
    images, unary = images.permute(0, 3, 1, 2), torch.from_numpy(energies(8, 41, 41))
    unary = unary.repeat(4, 1, 1, 1)
    crf = DenseCRFGrid(**GRID)
    first = crf(images.cuda(), unary.cuda())
    assert first.is_cuda and torch.equal(first, crf(images.cuda(), unary.cuda()))
    torch.testing.assert_close(first.cpu(), crf(images, unary), rtol=0, atol=1e-3)
