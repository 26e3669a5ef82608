from math import exp, log

import numpy as np
import pytest
import torch

from seedbed.inference import fuse_logits, multi_scale

CPU = torch.device("cpu")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (6, 10, 3), np.uint8)


def scaled(image, network=lambda x: x, **options):
    settings = {"scales": [1.0], "flip": False, "size": None, "device": CPU, **options}
    return multi_scale(network, image, **settings)


def test_scale_one_hands_the_network_the_raw_image(image):
    (output,) = scaled(image)
    assert output.dtype == torch.float32
    np.testing.assert_array_equal(output.permute(1, 2, 0), image)


def test_scales_and_their_order(image):
    outputs = scaled(image, scales=[1.0, 0.5, 2.0])
    assert [tuple(output.shape) for output in outputs] == [(3, 6, 10), (3, 3, 5), (3, 12, 20)]


def test_size_warps_before_scaling(image):
    outputs = scaled(image, scales=[0.5, 1.5], size=8)
    assert [tuple(output.shape) for output in outputs] == [(3, 4, 4), (3, 12, 12)]


def test_no_scale_is_smaller_than_a_pixel(image):
    assert scaled(image, scales=[0.01])[0].shape == (3, 1, 1)


def test_flip_is_undone(image):
    plain, mirrored = scaled(image, flip=True)
    assert torch.equal(plain, mirrored)


def test_flip_shows_the_network_the_mirrored_image(image):
    def pair(images):  # marks the left half of what it is shown
        assert torch.equal(images[1], images[0].flip(-1))
        marks = torch.zeros(len(images), 1, 6, 10)
        marks[..., :5] = 1
        return marks

    plain, mirrored = scaled(image, pair, flip=True)
    assert plain[0, 0].tolist() == [1.0] * 5 + [0.0] * 5
    assert mirrored[0, 0].tolist() == [0.0] * 5 + [1.0] * 5


def test_flip_doubles_the_outputs_scale_by_scale(image):
    outputs = scaled(image, scales=[1.0, 0.5], flip=True)
    assert [output.shape[1] for output in outputs] == [6, 6, 3, 3]


@pytest.mark.parametrize(
    ("fuse", "logits"),
    # of (log 4, 0) and (0, log 2): the mean halves the sum; the maximum takes either
    [("mean", (log(2), log(2) / 2)), ("sum", (log(4), log(2))), ("max", (log(4), log(2)))],
)
def test_fuse_by_hand(fuse, logits):
    outputs = [torch.tensor([log(4), 0.0]), torch.tensor([0.0, log(2)])]
    fused = fuse_logits([output.view(2, 1, 1) for output in outputs], (3, 2), fuse)
    first = exp(logits[0]) / (exp(logits[0]) + exp(logits[1]))
    assert fused.shape == (2, 3, 2)
    torch.testing.assert_close(fused[0], torch.full((3, 2), first))
    torch.testing.assert_close(fused.sum(0), torch.ones(3, 2))


def test_the_sum_sharpens_and_the_maximum_does_not():
    outputs = [torch.tensor([log(3), 0.0]).view(2, 1, 1)] * 3
    probs = {fuse: float(fuse_logits(outputs, (1, 1), fuse)[0]) for fuse in ("mean", "sum", "max")}
    assert probs["mean"] == probs["max"] == pytest.approx(3 / 4)
    assert probs["sum"] == pytest.approx(27 / 28)


def test_outputs_of_several_sizes_meet_at_one():
    small, large = torch.zeros(2, 1, 1), torch.zeros(2, 4, 4)
    large[0, :, 2:] = log(9)
    fused = fuse_logits([small, large], (4, 4), "mean")
    torch.testing.assert_close(fused[0, 0], torch.tensor([0.5, 0.5, 0.75, 0.75]))
    assert small.eq(0).all() and large[0, 0, 0] == 0
