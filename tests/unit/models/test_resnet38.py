"""ResNet-38 against its table and a literal forward pass; what is frozen, dropped and new."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seedbed.models.backbones.resnet38 import Block, Bottleneck, PlainBlock
from seedbed.models.heads.affinity import resnet38_affinity
from seedbed.models.heads.classification import resnet38_cls
from seedbed.models.heads.segmentation import ResNet38Segmenter, resnet38_seg
from seedbed.models.layers import FrozenBatchNorm
from seedbed.models.network import IMAGENET, Backbone
from seedbed.training.optimisation import parameter_groups
from tests.support.network_helpers import on_meta
from tests.support.training_helpers import optimisation

torch.set_num_threads(1)

CLASSES = 3
# Name, inputs, middle, outputs, stride, dilation of the first and of the second convolution.
PLAIN = (
    ("b2", 64, 128, 128, 2, 1, 1),
    ("b2_1", 128, 128, 128, 1, 1, 1),
    ("b2_2", 128, 128, 128, 1, 1, 1),
    ("b3", 128, 256, 256, 2, 1, 1),
    ("b3_1", 256, 256, 256, 1, 1, 1),
    ("b3_2", 256, 256, 256, 1, 1, 1),
    ("b4", 256, 512, 512, 2, 1, 1),
    ("b4_1", 512, 512, 512, 1, 1, 1),
    ("b4_2", 512, 512, 512, 1, 1, 1),
    ("b4_3", 512, 512, 512, 1, 1, 1),
    ("b4_4", 512, 512, 512, 1, 1, 1),
    ("b4_5", 512, 512, 512, 1, 1, 1),
    ("b5", 512, 512, 1024, 1, 1, 2),
    ("b5_1", 1024, 512, 1024, 1, 2, 2),
    ("b5_2", 1024, 512, 1024, 1, 2, 2),
)
# Name, inputs, the two middles, outputs.
BOTTLENECKS = (("b6", 1024, 512, 1024, 2048), ("b7", 2048, 1024, 2048, 4096))
SHORTCUTS = ("b2", "b3", "b4", "b5", "b6", "b7")
FROZEN = ("conv1a", "b2", "b2_1", "b2_2")


@pytest.fixture(scope="module")
def classifier():
    """The one real network: its batch norms do something, so that a wrong one is seen."""
    torch.manual_seed(0)
    model = resnet38_cls(CLASSES).eval()
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm):
            nn.init.normal_(module.running_mean, std=0.02)
            nn.init.uniform_(module.running_var, 0.1, 0.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return model


@pytest.fixture(scope="module")
def images():
    # 5 x 7 cells: a dilation of 4 reaches from one to another.
    return torch.randn(2, 3, 40, 56, generator=torch.Generator().manual_seed(1))


def expected_shapes():
    shapes = {"conv1a.weight": (64, 3, 3, 3)}
    norms = {"bn7": 4096}
    for name, inputs, middle, outputs, *_ in PLAIN:
        shapes[f"{name}.conv_branch2a.weight"] = (middle, inputs, 3, 3)
        shapes[f"{name}.conv_branch2b1.weight"] = (outputs, middle, 3, 3)
        norms |= {f"{name}.bn_branch2a": inputs, f"{name}.bn_branch2b1": middle}
    for name, inputs, first, second, outputs in BOTTLENECKS:
        shapes[f"{name}.conv_branch2a.weight"] = (first, inputs, 1, 1)
        shapes[f"{name}.conv_branch2b1.weight"] = (second, first, 3, 3)
        shapes[f"{name}.conv_branch2b2.weight"] = (outputs, second, 1, 1)
        norms |= {f"{name}.bn_branch2a": inputs}
        norms |= {f"{name}.bn_branch2b1": first, f"{name}.bn_branch2b2": second}
    for name, inputs, *_, outputs in (*((row[0], row[1], row[3]) for row in PLAIN), *BOTTLENECKS):
        if name in SHORTCUTS:
            shapes[f"{name}.conv_branch1.weight"] = (outputs, inputs, 1, 1)
    for name, channels in norms.items():
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (channels,)
    return shapes


def test_keys_and_shapes_are_those_published():
    state = on_meta(resnet38_cls, CLASSES).features.state_dict()
    shapes = {k: tuple(v.shape) for k, v in state.items() if not k.endswith("batches_tracked")}
    assert shapes == expected_shapes()


def test_parameter_counts():
    def plain(inputs, middle, outputs):
        convolutions = 9 * inputs * middle + 9 * middle * outputs
        shortcut = 0 if inputs == outputs else inputs * outputs
        return convolutions + shortcut + 2 * (inputs + middle)

    def bottleneck(inputs, outputs):
        quarter, half = outputs // 4, outputs // 2
        convolutions = inputs * quarter + 9 * quarter * half + half * outputs
        return convolutions + inputs * outputs + 2 * (inputs + quarter + half)

    backbone = (
        27 * 64
        + plain(64, 128, 128)
        + 2 * plain(128, 128, 128)
        + plain(128, 256, 256)
        + 2 * plain(256, 256, 256)
        + plain(256, 512, 512)
        + 5 * plain(512, 512, 512)
        + plain(512, 512, 1024)
        + 2 * plain(1024, 512, 1024)
        + bottleneck(1024, 2048)
        + bottleneck(2048, 4096)
        + 2 * 4096
    )
    heads = {
        resnet38_cls: 4096 * 20,
        resnet38_seg: 9 * 4096 * 512 + 512 + 9 * 512 * 20 + 20,
        resnet38_affinity: 512 * 64 + 1024 * 128 + 4096 * 256 + 448 * 448,
    }
    for make, head in heads.items():
        model = on_meta(make, 20)
        assert sum(p.numel() for p in model.parameters()) == backbone + head


def test_strides_and_dilations():
    features = on_meta(resnet38_cls, CLASSES).features
    expected = {}
    for name, _, _, _, stride, first, second in PLAIN:
        expected[f"{name}.conv_branch2a"] = (stride, first)
        expected[f"{name}.conv_branch2b1"] = (1, second)
        if name in SHORTCUTS:
            expected[f"{name}.conv_branch1"] = (stride, 1)
    for name, *_ in BOTTLENECKS:
        expected |= {f"{name}.conv_branch{part}": (1, 1) for part in ("2a", "2b2", "1")}
        expected[f"{name}.conv_branch2b1"] = (1, 4)
    expected["conv1a"] = (1, 1)
    found = {
        name: (module.stride[0], module.dilation[0])
        for name, module in features.named_modules()
        if isinstance(module, nn.Conv2d)
    }
    assert found == expected


def normalised(state, name, features):
    parts = (state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
    return F.relu(F.batch_norm(features, *parts))


def convolved(state, name, features, stride=1, dilation=1):
    weight = state[f"{name}.weight"]
    padding = dilation if weight.shape[2] == 3 else 0
    return F.conv2d(features, weight, None, stride, padding, dilation)


def literal_levels(state, images):
    levels = []
    x = convolved(state, "conv1a", images)
    for name, _, _, _, stride, first, second in PLAIN:
        before = normalised(state, f"{name}.bn_branch2a", x)
        if name == "b5":
            levels.append(before)
        if name in SHORTCUTS:
            x = convolved(state, f"{name}.conv_branch1", before, stride)
        y = convolved(state, f"{name}.conv_branch2a", before, stride, first)
        y = normalised(state, f"{name}.bn_branch2b1", y)
        x = x + convolved(state, f"{name}.conv_branch2b1", y, 1, second)
    for name, *_ in BOTTLENECKS:
        before = normalised(state, f"{name}.bn_branch2a", x)
        if name == "b6":
            levels.append(before)
        y = convolved(state, f"{name}.conv_branch2a", before)
        y = normalised(state, f"{name}.bn_branch2b1", y)
        y = convolved(state, f"{name}.conv_branch2b1", y, 1, 4)
        y = normalised(state, f"{name}.bn_branch2b2", y)
        x = convolved(state, f"{name}.conv_branch1", before)
        x = x + convolved(state, f"{name}.conv_branch2b2", y)
    return (*levels, normalised(state, "bn7", x))


def test_the_three_levels_are_the_literal_ones(classifier, images):
    levels = on_meta(resnet38_affinity, 1).levels
    with torch.inference_mode():
        expected = literal_levels(classifier.features.state_dict(), images)
        found = levels(classifier.features, images)
        end = classifier.features(images)
    assert [tuple(level.shape[1:]) for level in found] == [(512, 5, 7), (1024, 5, 7), (4096, 5, 7)]
    for one, other in zip((*found, end), (*expected, expected[2]), strict=True):
        assert other.std() > 0.01, "else the comparison says nothing"
        torch.testing.assert_close(one, other)


def test_scores_are_fc8_of_the_mean_features(classifier, images):
    weight = classifier.state_dict()["head.fc8.weight"]
    with torch.inference_mode():
        features = classifier.features(images)
        torch.testing.assert_close(classifier(images), features.mean((2, 3)) @ weight[..., 0, 0].T)
        torch.testing.assert_close(classifier.maps(images), F.conv2d(features, weight))


def coarse_segmenter():
    """The segmentation head on the mean colours of 8 x 8 pixels."""
    coarse = Backbone(nn.Sequential(nn.AvgPool2d(8)), 3, 8, low_layers=0, low_channels=3)
    return ResNet38Segmenter(coarse, CLASSES)


def test_pooling_options_reach_the_classifier():
    model = on_meta(resnet38_cls, CLASSES, dropout=0.2, top_weight=0.4, top_fraction=0.1)
    assert (model.pool.top_weight, model.pool.top_fraction) == (0.4, 0.1)
    assert model.head.dropout.p == 0.2


def test_xavier_uniform_heads(classifier):
    weight = classifier.head.fc8.weight
    bound = math.sqrt(6 / (4096 + CLASSES))
    assert 0.99 * bound < weight.abs().max() <= bound
    torch.manual_seed(0)
    head = coarse_segmenter().head
    for layer, inputs, outputs in ((head[0], 3, 512), (head[2], 512, CLASSES)):
        bound = math.sqrt(6 / (9 * inputs + 9 * outputs))
        assert 0.99 * bound < layer.weight.abs().max() <= bound


@pytest.mark.parametrize("size, grid", [((448, 448), (56, 56)), ((449, 321), (57, 41))])
def test_grids(size, grid):
    images = torch.empty(1, 3, *size, device="meta")
    classifier, segmenter = on_meta(resnet38_cls, CLASSES), on_meta(resnet38_seg, CLASSES)
    affinity = on_meta(resnet38_affinity, CLASSES)
    assert classifier.maps(images).shape == segmenter(images).shape == (1, CLASSES, *grid)
    assert classifier(images).shape == (1, CLASSES)
    sources = (grid[0] - 4) * (grid[1] - 8)
    assert affinity(images).shape == (1, 34, sources)
    assert affinity.affinities(images).shape == (1, 34, *grid)
    assert classifier.stride == segmenter.stride == affinity.stride == 8
    assert classifier.preprocessing == segmenter.preprocessing == affinity.preprocessing == IMAGENET


def test_segmentation_head_is_the_literal_one():
    torch.manual_seed(0)
    model = coarse_segmenter()
    images = torch.randn(1, 3, 112, 120)  # 14 x 15 cells: a dilation of 12 reaches across
    first, _, last = model.head
    with torch.inference_mode():
        wide = F.conv2d(F.avg_pool2d(images, 8), first.weight, first.bias, 1, 12, 12).relu()
        expected = F.conv2d(wide, last.weight, last.bias, 1, 12, 12)
        assert expected.shape == (1, CLASSES, 14, 15)
        torch.testing.assert_close(model(images), expected)


def test_where_dropout_stands():
    found = {
        name: module.p
        for name, module in on_meta(resnet38_cls, CLASSES).named_modules()
        if isinstance(module, nn.Dropout2d)
    }
    assert found == {
        "features.b6.dropout_2b1": 0.3,
        "features.b6.dropout_2b2": 0.3,
        "features.b7.dropout_2b1": 0.5,
        "features.b7.dropout_2b2": 0.5,
        "head.dropout": 0.5,
    }


def test_bottleneck_in_training_is_the_literal_one():
    torch.manual_seed(0)
    block = Bottleneck(16, 32, dilation=2, dropout=0.4, checkpointing=False).train()
    state, x = block.state_dict(), torch.randn(1, 16, 5, 6)
    torch.manual_seed(1)
    found = block(x)
    torch.manual_seed(1)
    before = normalised(state, "bn_branch2a", x)
    y = normalised(state, "bn_branch2b1", convolved(state, "conv_branch2a", before))
    y = convolved(state, "conv_branch2b1", F.dropout2d(y, 0.4), 1, 2)
    y = F.dropout2d(normalised(state, "bn_branch2b2", y), 0.4)
    expected = convolved(state, "conv_branch1", before) + convolved(state, "conv_branch2b2", y)
    torch.testing.assert_close(found, expected)


def frozen_layers(model):
    """Names below `features.` of the layers with convolutions, all of which are frozen."""
    learning = {}
    for name, parameter in model.features.named_parameters():
        if parameter.ndim > 1:
            learning.setdefault(name.split(".")[0], set()).add(parameter.requires_grad)
    assert all(len(states) == 1 for states in learning.values())
    return tuple(name for name, states in learning.items() if states == {False})


@pytest.mark.parametrize(
    "make, frozen", [(resnet38_cls, FROZEN), (resnet38_affinity, FROZEN), (resnet38_seg, ())]
)
def test_what_is_frozen_and_that_the_rest_learns(make, frozen):
    model = on_meta(make, CLASSES)
    assert frozen_layers(model) == frozen
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    # Two a plain block, three a bottleneck, bn7.
    assert len(norms) == 2 * 15 + 3 * 2 + 1
    assert not any(norm.training for norm in norms), "as built"
    model.train()
    assert not any(norm.training for norm in norms), "in training"
    assert not any(p.requires_grad for norm in norms for p in norm.parameters())
    model(torch.empty(1, 3, 96, 96, device="meta")).sum().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    "make, weights, biases",
    [
        (resnet38_cls, ["head.fc8.weight"], []),
        (resnet38_seg, ["head.0.weight", "head.2.weight"], ["head.0.bias", "head.2.bias"]),
        (resnet38_affinity, [f"head.{n}.weight" for n in ("f8_3", "f8_4", "f8_5", "f9")], []),
    ],
)
def test_new_layers_learn_at_rates_of_their_own(make, weights, biases):
    model = on_meta(make, CLASSES)
    names = {parameter: name for name, parameter in model.named_parameters()}
    rates = optimisation(learning_rate=1.0, multipliers=(1, 2, 10, 20))
    groups = {g["lr"]: [names[p] for p in g["params"]] for g in parameter_groups(model, rates)}
    assert groups.get(10) == weights
    assert groups.get(20, []) == biases
    assert 2 not in groups, "the backbone has no biases but the frozen ones"
    body = [name for name, p in model.features.named_parameters() if p.requires_grad]
    assert groups[1] == [f"features.{name}" for name in body]


def blocks(checkpointing):
    torch.manual_seed(0)
    return nn.Sequential(
        PlainBlock(6, 8, 8, stride=2, dilations=(1, 2), checkpointing=checkpointing),
        PlainBlock(8, 8, 8, stride=1, dilations=(2, 2), checkpointing=checkpointing),
        Bottleneck(8, 16, dilation=4, dropout=0.5, checkpointing=checkpointing),
    ).train()


def test_checkpointing_changes_memory_and_nothing_else(monkeypatch):
    calls = []
    branch = Bottleneck.branch
    monkeypatch.setattr(Bottleneck, "branch", lambda *a: calls.append(1) or branch(*a))
    x = torch.randn(2, 6, 9, 8)
    results = []
    for checkpointing, runs in ((False, 1), (True, 2)):
        model = blocks(checkpointing)
        torch.manual_seed(1)
        output = model(x)
        output.square().sum().backward()
        assert len(calls) == runs
        calls.clear()
        results.append([output, *(p.grad for p in model.parameters() if p.requires_grad)])
    for plain, saving in zip(*results, strict=True):
        assert torch.equal(plain, saving)


@pytest.mark.parametrize("make", (resnet38_cls, resnet38_seg, resnet38_affinity))
@pytest.mark.parametrize("checkpointing", (False, True))
def test_checkpointing_is_an_option_of_every_network(make, checkpointing):
    model = on_meta(make, CLASSES, checkpointing=checkpointing)
    found = [m.checkpointing for m in model.modules() if isinstance(m, Block)]
    assert found == [checkpointing] * 17
