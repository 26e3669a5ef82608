"""Seeded region growing gives on a GPU what it gives on the CPU."""

import torch

from seedbed.methods.dsrg.growing import grow_seeds
from tests.unit.methods.dsrg.test_growing import CAFFE


def test_same_result_on_the_gpu():
    rng = torch.Generator().manual_seed(0)
    seeds = torch.rand(4, 5, 30, 30, generator=rng) < 0.1
    probs = (9 * torch.rand(4, 5, 30, 30, generator=rng)).softmax(1)
    labels = torch.rand(4, 5, generator=rng) < 0.6
    options = {**CAFFE, "foreground_threshold": 0.4, "background_threshold": 0.5}
    on_gpu = grow_seeds(seeds.cuda(), probs.cuda(), labels.cuda(), **options)
    assert torch.equal(on_gpu.cpu(), grow_seeds(seeds, probs, labels, **options))
