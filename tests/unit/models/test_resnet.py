import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seedbed.models.backbones.resnet import resnet101_features
from seedbed.models.heads.deeplab import ResNet101DeepLab
from seedbed.models.layers import FrozenBatchNorm
from seedbed.training.optimisation import parameter_groups
from tests.support.network_helpers import on_meta, seeded
from tests.support.training_helpers import optimisation

torch.set_num_threads(1)

# Blocks, inner channels, dilation of layer1 to layer4.
STAGES = {1: (3, 64, 1), 2: (4, 128, 1), 3: (23, 256, 2), 4: (3, 512, 4)}


def image(height=33, width=33):
    torch.manual_seed(1)
    return torch.randn(1, 3, height, width)


def size(module):
    return sum(p.numel() for p in module.parameters())


def backbone_size():
    """Weights without biases, and two numbers a channel for every norm."""
    total, inputs = 3 * 64 * 49 + 2 * 64, 64
    for blocks, channels, _ in STAGES.values():
        outputs = 4 * channels
        total += inputs * outputs + 2 * outputs  # the projection of the first block
        for _ in range(blocks):
            total += inputs * channels + 9 * channels**2 + channels * outputs
            total += 2 * (channels + channels + outputs)
            inputs = outputs
    return total


def test_parameter_counts():
    # Torchvision's ResNet-101 without its classifier of 2 049 000 parameters.
    assert backbone_size() == 44_549_160 - 2_049_000
    network = on_meta(ResNet101DeepLab, 21)
    assert size(network.features) == backbone_size()
    assert size(network.head) == 4 * (9 * 2048 * 21 + 21)


def test_torchvisions_key_names():
    keys = set(on_meta(resnet101_features).state_dict())
    convs = {"conv1"}
    for stage, (blocks, _, _) in STAGES.items():
        convs |= {f"layer{stage}.{b}.conv{n}" for b in range(blocks) for n in (1, 2, 3)}
    norms = {name.replace("conv", "bn") for name in convs}
    convs |= {f"layer{stage}.0.downsample.0" for stage in STAGES}
    norms |= {f"layer{stage}.0.downsample.1" for stage in STAGES}
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {f"{name}.weight" for name in convs}
    assert keys == expected | {f"{name}.{part}" for name in norms for part in parts}
    network = on_meta(ResNet101DeepLab, 21).state_dict()
    assert {f"features.{key}" for key in keys} < set(network)
    head = {key for key in network if key.startswith("head.")}
    assert head == {f"head.classes.{i}.{part}" for i in range(4) for part in ("weight", "bias")}


def row(layer):
    """Kernel, stride, dilation and padding, each the same in height and width."""
    pairs = (layer.kernel_size, layer.stride, layer.dilation, layer.padding)
    assert all(first == second for first, second in pairs)
    return tuple(first for first, _ in pairs)


@pytest.mark.parametrize("stride_in_first", (True, False))
def test_layers(stride_in_first):
    features = on_meta(resnet101_features, stride_in_first=stride_in_first)
    assert row(features.conv1) == (7, 2, 1, 3)
    pool = features.maxpool
    assert (pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode) == (3, 2, 1, True)
    before = 1
    for stage, (blocks, channels, dilation) in STAGES.items():
        layers = features.get_submodule(f"layer{stage}")
        assert len(layers) == blocks
        for number, block in enumerate(layers):
            stride = 2 if (stage, number) == (2, 0) else 1
            first, second = (stride, 1) if stride_in_first else (1, stride)
            # Torchvision's 3x3 convolution has lost its own stride: dilated after it.
            rate = before if number == 0 and not stride_in_first else dilation
            assert row(block.conv1) == (1, first, 1, 0)
            assert row(block.conv2) == (3, second, rate, rate)
            assert row(block.conv3) == (1, 1, 1, 0)
            assert (block.conv2.out_channels, block.conv3.out_channels) == (channels, 4 * channels)
            assert len(block.downsample) == (2 if number == 0 else 0)
            if number == 0:
                assert row(block.downsample[0]) == (1, stride, 1, 0)
        before = dilation


@pytest.mark.parametrize(
    "side, grid", [(321, 41), (241, 31), (401, 51), (256, 33), (500, 63), (375, 48)]
)
def test_output_grids(side, grid):
    for options in ({}, {"stride_in_first": False}):
        network = on_meta(ResNet101DeepLab, 21, **options)
        x = torch.empty(1, 3, side, 33, device="meta")
        assert network(x).shape == (1, 21, grid, 5)
        assert network.stride == 8


def strided(features, stride_in_first):
    """The classification network: strides of 2 in layer3 and layer4, nothing dilated."""
    coarse = copy.deepcopy(features)
    for stage in (coarse.layer3, coarse.layer4):
        (stage[0].conv1 if stride_in_first else stage[0].conv2).stride = (2, 2)
        stage[0].downsample[0].stride = (2, 2)
        for block in stage:
            block.conv2.dilation = block.conv2.padding = (1, 1)
    return coarse


@pytest.mark.parametrize("stride_in_first", (True, False))
def test_dilated_features_hold_those_of_the_strided_network(stride_in_first):
    features = seeded(resnet101_features, stride_in_first=stride_in_first)
    with torch.inference_mode():
        inner = features(image(97, 65))[:, :, ::4, ::4]
        expected = strided(features, stride_in_first)(image(97, 65))
    assert expected.shape == (1, 2048, 4, 3) and expected.std() > 0
    scale = expected.std()
    torch.testing.assert_close(inner / scale, expected / scale, rtol=1e-3, atol=1e-3)


def test_a_block_by_hand():
    block = seeded(resnet101_features).layer2[0]
    for norm in (block.bn1, block.bn2, block.bn3, block.downsample[1]):
        for values in (norm.weight, norm.running_var):
            nn.init.uniform_(values, 0.5, 2)
        for values in (norm.bias, norm.running_mean):
            nn.init.normal_(values)
    x = torch.randn(1, 256, 7, 6)

    def normed(norm, x):
        mean, deviation = norm.running_mean, (norm.running_var + norm.eps).sqrt()
        shape = (1, -1, 1, 1)
        centred = (x - mean.view(shape)) / deviation.view(shape)
        return centred * norm.weight.view(shape) + norm.bias.view(shape)

    with torch.inference_mode():
        inner = normed(block.bn1, F.conv2d(x, block.conv1.weight, stride=2)).clamp(min=0)
        inner = normed(block.bn2, F.conv2d(inner, block.conv2.weight, padding=1)).clamp(min=0)
        inner = normed(block.bn3, F.conv2d(inner, block.conv3.weight))
        projected = F.conv2d(x, block.downsample[0].weight, stride=2)
        expected = (inner + normed(block.downsample[1], projected)).clamp(min=0)
        torch.testing.assert_close(block(x), expected, rtol=1e-4, atol=1e-4)


def test_logits_are_the_sum_of_the_branches():
    head = seeded(ResNet101DeepLab, 3).head
    x = torch.randn(1, 2048, 6, 5)
    expected = torch.zeros(1, 3, 6, 5)
    with torch.inference_mode():
        for layer, rate in zip(head.classes, (6, 12, 18, 24), strict=True):
            nn.init.normal_(layer.bias)
            expected += F.conv2d(x, layer.weight, layer.bias, padding=rate, dilation=rate)
        torch.testing.assert_close(head(x), expected, rtol=1e-4, atol=1e-4)


def test_initialisation_of_the_head():
    for layer in seeded(ResNet101DeepLab, 21).head.classes:
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.02)
        assert not layer.bias.any()


def test_norms_are_frozen_from_the_start():
    network = seeded(ResNet101DeepLab, 3)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 1 + 3 * 33 + 4
    assert all(isinstance(norm, FrozenBatchNorm) and not norm.training for norm in norms)
    network.train()
    network(image())
    assert not any(norm.training or norm.running_mean.any() for norm in norms)
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())


def test_learning_rate_groups():
    network = on_meta(ResNet101DeepLab, 3)
    body, weights, biases = parameter_groups(
        network, optimisation(learning_rate=1.0, multipliers=(1, 2, 10, 20))
    )
    assert [body["lr"], weights["lr"], biases["lr"]] == [1, 10, 20]
    assert len(body["params"]) == 1 + 3 * 33 + 4, "all convolutions, no norm"
    assert len(weights["params"]) == len(biases["params"]) == 4


def test_preprocessing():
    levels = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    caffe = on_meta(ResNet101DeepLab, 2).preprocess(levels).flatten().tolist()
    assert caffe == pytest.approx([30 - 104.00698793, 20 - 116.66876762, 10 - 122.67891434])
    other = on_meta(ResNet101DeepLab, 2, preprocessing="imagenet").preprocess(levels)
    assert other.flatten()[0].item() == pytest.approx((10 / 255 - 0.485) / 0.229)
    with pytest.raises(ValueError, match="preprocessing: 'torch'"):
        on_meta(ResNet101DeepLab, 2, preprocessing="torch")


def gradients_and_bytes(checkpointing):
    """Gradients of a training step, and how much of the forward pass was kept for them."""
    network = seeded(ResNet101DeepLab, 2, checkpointing=checkpointing).train()
    weights = {p.data_ptr() for p in network.parameters()}
    kept = {}

    def keep(tensor):
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = network(image()).square().mean()
    loss.backward()
    grads = {name: p.grad for name, p in network.named_parameters() if p.requires_grad}
    return grads, sum(kept.values())


def test_checkpointing_keeps_less_and_learns_the_same():
    expected, much = gradients_and_bytes(False)
    result, little = gradients_and_bytes(True)
    assert little < 0.5 * much
    assert all(math.isfinite(gradient.sum().item()) for gradient in expected.values())
    assert all(torch.equal(result[name], expected[name]) for name in expected)


@torch.inference_mode()
def test_tensorflows_padding_differs_where_a_side_is_even():
    torch.manual_seed(0)
    ours = resnet101_features()[:4].eval()
    torch.manual_seed(0)
    theirs = resnet101_features(padding="tf")[:4].eval()
    odd, even = image(65, 65), image(64, 64)
    torch.testing.assert_close(theirs(odd), ours(odd))
    assert theirs(even).shape[2:] == (16, 16) and ours(even).shape[2:] == (17, 17)
    want = F.conv2d(F.pad(even, (2, 3, 2, 3)), ours[0].weight, stride=2)
    torch.testing.assert_close(theirs[0](even), want)


def test_the_norms_epsilon_can_be_tensorflows():
    network = on_meta(ResNet101DeepLab, 21, norm_epsilon=1e-3)
    assert {m.eps for m in network.modules() if isinstance(m, FrozenBatchNorm)} == {1e-3}
