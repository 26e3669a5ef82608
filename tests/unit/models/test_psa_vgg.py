"""PSA's VGG-16 against a literal forward pass; what is frozen and new."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seedbed.models.heads.affinity import vgg16_affinity
from seedbed.models.heads.classification import vgg16_cls
from seedbed.training.optimisation import parameter_groups
from tests.support.training_helpers import optimisation

torch.set_num_threads(1)

CLASSES = 3
# The numbers of the convolutions, block by block, and their dilations.
BLOCKS = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28))
DILATIONS = (1, 1, 1, 1, 2)


def on_meta(make, *arguments):
    with torch.device("meta"):
        return make(*arguments)


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, 56, 72, generator=torch.Generator().manual_seed(0))


def made(make):
    """A network on a seed, its biases set so that a missing one is seen."""
    torch.manual_seed(0)
    model = make(CLASSES).eval()
    for name, parameter in model.features.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    return model


def literal_levels(state, images, fc6_dilation):
    def layer(name, x, dilation=1):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        padding = dilation * (weight.shape[2] // 2)
        return F.conv2d(x, weight, bias, 1, padding, dilation).relu()

    x, levels = images, []
    for block, (numbers, dilation) in enumerate(zip(BLOCKS, DILATIONS, strict=True)):
        for number in numbers:
            x = layer(str(number), x, dilation)
        if block >= 3:
            levels.append(x)
        if block < 4:
            x = F.max_pool2d(x, 3, 2 if block < 3 else 1, 1)
    fc6 = layer("fc6", x, fc6_dilation)
    return (*levels, layer("fc7", fc6))


@pytest.mark.parametrize("make, fc6_dilation", [(vgg16_cls, 1), (vgg16_affinity, 4)])
def test_the_three_levels_are_the_literal_ones(make, fc6_dilation, images):
    model = made(make)
    levels = on_meta(vgg16_affinity, CLASSES).levels
    with torch.inference_mode():
        expected = literal_levels(model.features.state_dict(), images, fc6_dilation)
        found = levels(model.features, images)
        end = model.features(images)
    assert [level.shape[1:] for level in found] == [(512, 7, 9), (512, 7, 9), (1024, 7, 9)]
    for one, other in zip((*found, end), (*expected, expected[2]), strict=True):
        assert other.std() > 0.01, "else the comparison says nothing"
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_scores_are_the_mean_of_the_maps(images):
    model = made(vgg16_cls)
    with torch.inference_mode():
        maps = F.conv2d(model.features(images), model.state_dict()["head.fc8.weight"])
        torch.testing.assert_close(model.maps(images), maps)
        torch.testing.assert_close(model(images), maps.mean((2, 3)))


def test_affinities_are_group_normalised():
    head = on_meta(vgg16_affinity, CLASSES).head
    groups = [(g.num_groups, g.num_channels) for g in (head.gn8_3, head.gn8_4, head.gn8_5)]
    assert groups == [(8, 64), (16, 128), (32, 256)]


def test_whole_channels_are_dropped_after_fc6_and_before_fc8():
    model = on_meta(vgg16_cls, CLASSES)
    order = [*(name for name, _ in model.features.named_children()), *model.head._modules]
    assert order[-7:] == ["fc6", "relu6", "drop6", "fc7", "relu7", "dropout", "fc8"]
    dropped = [m.p for m in model.modules() if isinstance(m, nn.Dropout2d)]
    assert dropped == [0.5, 0.5]
    assert not any(isinstance(m, nn.Dropout) for m in model.modules())


@pytest.mark.parametrize("size, grid", [((448, 448), (56, 56)), ((321, 281), (41, 36))])
def test_grids(size, grid):
    images = torch.empty(1, 3, *size, device="meta")
    assert on_meta(vgg16_cls, CLASSES).maps(images).shape == (1, CLASSES, *grid)
    assert on_meta(vgg16_affinity, CLASSES).affinities(images).shape == (1, 34, *grid)


def test_parameter_counts():
    widths = ((3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 256))
    widths += ((256, 512), *((512, 512),) * 5, (512, 1024))
    backbone = sum((9 * inputs + 1) * outputs for inputs, outputs in widths) + 1025 * 1024
    projections = 512 * 64 + 512 * 128 + 1024 * 256
    for make, head in (
        (vgg16_cls, 1024 * 20),
        (vgg16_affinity, projections + 2 * 448 + 448 * 448),
    ):
        assert sum(p.numel() for p in on_meta(make, 20).parameters()) == backbone + head


@pytest.mark.parametrize("make", (vgg16_cls, vgg16_affinity))
def test_conv1_and_conv2_are_frozen_and_the_rest_learns(make):
    model = on_meta(make, CLASSES).train()
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen == [f"features.{n}.{part}" for n in (0, 2, 5, 7) for part in ("weight", "bias")]
    model(torch.empty(1, 3, 96, 96, device="meta")).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


def test_new_layers_learn_at_rates_of_their_own():
    rates = optimisation(learning_rate=1.0, multipliers=(1, 2, 10, 20))
    for make, new, old in (
        (vgg16_cls, ["fc8"], []),
        (vgg16_affinity, ["f8_3", "f8_4", "f8_5", "f9"], ["gn8_3", "gn8_4", "gn8_5"]),
    ):
        model = on_meta(make, CLASSES)
        names = {parameter: name for name, parameter in model.named_parameters()}
        groups = {g["lr"]: [names[p] for p in g["params"]] for g in parameter_groups(model, rates)}
        body = [str(n) for numbers in BLOCKS[2:] for n in numbers] + ["fc6", "fc7"]
        # PSA's group norms learn as its convolutions: scales at the base rate, with decay.
        weights = [f"features.{name}.weight" for name in body]
        assert groups[1] == weights + [f"head.{name}.weight" for name in old]
        assert [n for n in groups[2] if n.startswith("features.")] == [
            f"features.{name}.bias" for name in body
        ]
        assert [n for n in groups[2] if n.startswith("head.")] == [
            f"head.{name}.bias" for name in old
        ]
        assert groups[10] == [f"head.{name}.weight" for name in new]
        assert 20 not in groups


def test_preprocessing_is_caffes():
    levels = torch.tensor([122, 117, 105], dtype=torch.uint8).view(1, 3, 1, 1)
    for make in (vgg16_cls, vgg16_affinity):
        found = on_meta(make, CLASSES).preprocess(levels).flatten()
        torch.testing.assert_close(found, torch.tensor([0.992, 0.331, -0.675]))
