"""What a network says of itself."""

import pytest
import torch

from seedbed.models import build
from seedbed.models.network import DSRG_MEAN, IMAGENET


@pytest.mark.parametrize(
    ("name", "side"), [("tiny_seg", 24), ("tiny_group", 24), ("mobilenet_v2_affinity", 12)]
)
def test_the_side_of_the_maps(name, side):
    network = build(name, 3).eval()
    assert network.output_side(96) == side
    images = network.preprocess(torch.zeros(1, 3, 96, 96))
    with torch.no_grad():
        assert network.grids(images)[0].shape[-2:] == (side, side)


def test_the_mean_colour_becomes_zero():
    assert DSRG_MEAN.mean_rgb == (123, 117, 104)
    assert IMAGENET.mean_rgb == pytest.approx((123.675, 116.28, 103.53))
    network = build("tiny_cls", 3)
    colour = torch.tensor(network.preprocessing.mean_rgb)[None, :, None, None]
    assert network.preprocess(colour).abs().max() < 1e-6
