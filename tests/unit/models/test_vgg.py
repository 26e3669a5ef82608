import math
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seedbed.models.backbones.vgg import vgg16_features
from seedbed.models.heads.deeplab import vgg16_aspp, vgg16_largefov
from seedbed.models.heads.group import vgg16_group
from seedbed.models.heads.sec import Vgg16CAM
from seedbed.models.layers import SameMaxPool2d, max_pool
from seedbed.training.optimisation import parameter_groups
from tests.support.network_helpers import on_meta, seeded
from tests.support.training_helpers import optimisation

torch.set_num_threads(1)

WIDTHS = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
CONVS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
POOLS = (4, 9, 16, 23)
INF = float("inf")


def conv_size(inputs, outputs, kernel, bias=True):
    return inputs * outputs * kernel**2 + outputs * bias


def vgg_size():
    widths = [3, *(width for block in WIDTHS for width in block)]
    return sum(conv_size(a, b, 3) for a, b in pairwise(widths))


def branch_size(classes):
    return conv_size(512, 1024, 3) + conv_size(1024, 1024, 1) + conv_size(1024, classes, 1)


def size(module):
    return sum(p.numel() for p in module.parameters())


def image(height=33, width=33):
    torch.manual_seed(1)
    return 50 * torch.randn(1, 3, height, width)


def table(features):
    """Kernel, stride, dilation and padding of every layer that has one."""
    return {
        number: (layer.kernel_size, layer.stride, layer.dilation, layer.padding)
        for number, layer in enumerate(features)
        if hasattr(layer, "kernel_size")
    }


# ------------------------------------------------------------------------------- the features


def test_parameter_counts():
    assert vgg_size() == 14_714_688, "torchvision's VGG-16 without its classifier"
    assert size(on_meta(vgg16_features)) == vgg_size()
    assert size(on_meta(vgg16_aspp, 21)) == vgg_size() + 4 * branch_size(21)
    assert size(on_meta(vgg16_largefov, 81)) == vgg_size() + branch_size(81)
    cam = conv_size(512, 1024, 3) + conv_size(1024, 1024, 3) + conv_size(1024, 20, 1, bias=False)
    assert size(on_meta(Vgg16CAM, 20)) == vgg_size() + cam
    extra = 3 * conv_size(512, 512, 3) + conv_size(512, 20, 1)
    attention = 2 * conv_size(20, 10, 1) + conv_size(20, 1, 1, bias=False) + conv_size(40, 20, 3)
    gates = 3 * conv_size(40, 20, 1)
    assert size(on_meta(vgg16_group, 20)) == vgg_size() + extra + attention + gates


def test_layers_of_deeplabs_features():
    features = on_meta(vgg16_features)
    widths = [width for block in WIDTHS for width in block]
    assert [features[number].out_channels for number in CONVS] == widths
    expected = dict.fromkeys(CONVS[:10], ((3, 3), (1, 1), (1, 1), (1, 1)))
    expected |= dict.fromkeys(CONVS[10:], ((3, 3), (1, 1), (2, 2), (2, 2)))
    expected |= dict.fromkeys(POOLS[:3], (3, 2, 1, 1))
    expected |= {23: (3, 1, 1, 1)}
    assert table(features) == expected
    assert len(features) == 30
    assert all(isinstance(features[number + 1], nn.ReLU) for number in CONVS)
    assert all(features[number].ceil_mode for number in POOLS)


def test_layers_of_the_other_features():
    cam, group = on_meta(Vgg16CAM, 3).features, on_meta(vgg16_group, 3).features
    for features in (cam, group):
        assert [table(features)[number] for number in POOLS[:3]] == [(2, 2, 1, 0)] * 3
    assert isinstance(cam[23], nn.Identity)
    assert table(group)[23] == (3, 1, 1, 1)
    assert [cam[number].dilation for number in CONVS[10:]] == [(1, 1)] * 3
    assert [group[number].dilation for number in CONVS[10:]] == [(2, 2)] * 3
    assert cam[4].ceil_mode and not group[4].ceil_mode


GRIDS = {
    # side: Caffe's 3x3 pools, TensorFlow's, SEC's 2x2 with and Group-WSSS' without a last one
    321: (41, 41, 41, 40),
    241: (31, 31, 31, 30),
    401: (51, 51, 51, 50),
    256: (33, 32, 32, 32),
    500: (64, 63, 63, 62),
    375: (48, 47, 47, 46),
}


@pytest.mark.parametrize("side", GRIDS)
def test_output_grids(side):
    made = (
        on_meta(vgg16_largefov, 21),
        on_meta(vgg16_largefov, 21, padding="tf"),
        on_meta(Vgg16CAM, 21),
    )
    x = torch.empty(1, 3, side, 33, device="meta")
    for network, grid in zip(made, GRIDS[side], strict=False):
        maps = network.maps(x) if isinstance(network, Vgg16CAM) else network(x)
        assert maps.shape == (1, 21, grid, 5)
        assert network.stride == 8
    group = on_meta(vgg16_group, 20)
    assert group.features(x).shape == (1, 512, GRIDS[side][3], 4)
    assert group.stride == 8


# ----------------------------------------------------------------------------------- the pools


@pytest.mark.parametrize(
    "pool, row, expected",
    [
        # TensorFlow's windows: 1 2 3 | 3 4, where Caffe's begin in the padding: 1 2 | 2 3 4 | 4.
        (max_pool(3, 2, ceil_mode=True, padding="tf"), [1, 2, 5, 4], [5, 5]),
        (max_pool(3, 2, ceil_mode=True, padding="caffe"), [1, 2, 5, 4], [2, 5, 4]),
        (max_pool(3, 2, ceil_mode=False, padding="caffe"), [1, 2, 5, 4], [2, 5]),
        # On an odd row they agree.
        (max_pool(3, 2, ceil_mode=True, padding="tf"), [1, 2, 5, 4, 3], [2, 5, 4]),
        (max_pool(3, 2, ceil_mode=True, padding="caffe"), [1, 2, 5, 4, 3], [2, 5, 4]),
        (max_pool(3, 1, ceil_mode=True, padding="tf"), [1, 2, 5, 4], [2, 5, 5, 5]),
        (max_pool(2, 2, ceil_mode=True, padding="tf"), [1, 2, 5], [2, 5]),
        (max_pool(2, 2, ceil_mode=True, padding="caffe"), [1, 2, 5], [2, 5]),
        (max_pool(2, 2, ceil_mode=False, padding="caffe"), [1, 2, 5], [2]),
        # Padding never wins over what is there.
        (max_pool(3, 2, ceil_mode=True, padding="tf"), [-1, -2, -5, -4], [-1, -4]),
    ],
)
def test_pooling_by_hand(pool, row, expected):
    rows = torch.tensor(row, dtype=torch.float32).expand(1, 1, 4, len(row))
    assert all(line == expected for line in pool(rows)[0, 0].tolist())
    assert all(line == expected for line in pool(rows.mT)[0, 0].mT.tolist()), "columns"


def test_same_pooling_pads_height_and_width_apart():
    x = torch.arange(12.0).view(1, 1, 3, 4)
    # Rows: (pad, 0, 1), (1, 2, pad); columns: (0, 1, 2), (2, 3, pad).
    assert SameMaxPool2d(3, 2)(x).tolist() == [[[[6, 7], [10, 11]]]]


@pytest.mark.parametrize("padding, corner, edge", [("caffe", 4 / 9, 6 / 9), ("tf", 1.0, 1.0)])
def test_caffe_counts_the_padding_of_the_mean(padding, corner, edge):
    pooled = on_meta(vgg16_aspp, 2, padding=padding).head.pool(torch.ones(1, 1, 3, 3))
    expected = [[corner, edge, corner], [edge, 1.0, edge], [corner, edge, corner]]
    torch.testing.assert_close(pooled[0, 0], torch.tensor(expected))


def test_an_unknown_padding_is_refused():
    for make in (vgg16_aspp, vgg16_largefov):
        with pytest.raises(ValueError, match="padding: 'same'"):
            on_meta(make, 2, padding="same")


# ------------------------------------------------------------------------- DSRG's and SPSM's


def test_layers_of_the_branches():
    for network, rates in (
        (on_meta(vgg16_aspp, 21), (6, 12, 18, 24)),
        (on_meta(vgg16_largefov, 21), (12,)),
    ):
        head = network.head
        assert [fc6.dilation[0] for fc6 in head.fc6] == list(rates)
        assert [fc6.padding[0] for fc6 in head.fc6] == list(rates)
        assert all(fc6.kernel_size == (3, 3) for fc6 in head.fc6)
        assert all(layer.kernel_size == (1, 1) for layer in (*head.fc7, *head.fc8))
        assert head.dropout.p == 0.5


def test_published_key_names():
    keys = set(on_meta(vgg16_aspp, 21).state_dict())
    expected = {f"features.{number}" for number in CONVS}
    expected |= {f"head.fc{layer}.{branch}" for layer in (6, 7, 8) for branch in range(4)}
    assert keys == {f"{name}.{part}" for name in expected for part in ("weight", "bias")}
    assert "head.fc6.0.weight" in on_meta(vgg16_largefov, 21).state_dict()
    assert "head.fc8.bias" not in on_meta(Vgg16CAM, 20).state_dict()


@pytest.mark.parametrize("make, rates", [(vgg16_aspp, (6, 12, 18, 24)), (vgg16_largefov, (12,))])
def test_logits_are_the_sum_of_the_branches(make, rates):
    network = seeded(make, 3).eval()
    weights = network.state_dict()
    with torch.inference_mode():
        x = network.features(image())
        x = F.avg_pool2d(F.max_pool2d(x, 3, 1, 1), 3, 1, 1)
        expected = torch.zeros(1, 3, 5, 5)
        for branch, rate in enumerate(rates):
            w6, w7, w8 = (weights[f"head.fc{n}.{branch}.weight"] for n in (6, 7, 8))
            hidden = F.conv2d(x, w6, padding=rate, dilation=rate).clamp(min=0)
            expected += F.conv2d(F.conv2d(hidden, w7).clamp(min=0), w8)
        result = network(image())
    assert expected.std() > 1e-3, "else the comparison says nothing"
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-5)


def preprocessed(network):
    levels = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    return network.preprocess(levels).flatten().tolist()


def test_preprocessing():
    tf_mean = pytest.approx([30 - 104.00698793, 20 - 116.66876762, 10 - 122.67891434])
    assert preprocessed(on_meta(vgg16_aspp, 2)) == [30 - 104, 20 - 117, 10 - 123]
    assert preprocessed(on_meta(vgg16_aspp, 2, padding="tf")) == tf_mean
    assert preprocessed(on_meta(vgg16_largefov, 2)) == tf_mean
    sec_mean = pytest.approx([30 - 104.008, 20 - 116.669, 10 - 122.675])
    assert preprocessed(on_meta(Vgg16CAM, 2)) == sec_mean
    imagenet = [(10 / 255 - 0.485) / 0.229, (20 / 255 - 0.456) / 0.224, (30 / 255 - 0.406) / 0.225]
    assert preprocessed(on_meta(vgg16_group, 2)) == pytest.approx(imagenet)


def test_initialisation_of_fc8():
    caffe, tf = seeded(vgg16_aspp, 21).head.fc8, seeded(vgg16_aspp, 21, padding="tf").head.fc8
    bound = math.sqrt(6 / (1024 + 21))
    for normal, uniform in zip(caffe, tf, strict=True):
        assert normal.weight.std().item() == pytest.approx(0.01, rel=0.03)
        assert normal.weight.abs().max() > 0.03, "no uniform distribution"
        assert uniform.weight.abs().max().item() == pytest.approx(bound, rel=0.01)
        assert uniform.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.03)
        assert not normal.bias.any() and not uniform.bias.any()
    assert not torch.equal(caffe[0].weight, caffe[1].weight)


def test_dropout_after_training_only_by_the_switch():
    plain = seeded(vgg16_largefov, 3).eval()
    switched = seeded(vgg16_largefov, 3, dropout_in_eval=True).eval()
    with torch.inference_mode():
        x = plain.features(image())
        first, second = plain.head(x), plain.head(x)
        assert torch.equal(first, second)
        draws = torch.stack([switched.head(x) for _ in range(64)])
        assert not torch.equal(draws[0], draws[1])
        error = (draws.mean(0) - first).abs().mean() / (draws - first).abs().mean()
        assert error < 0.3, "what is kept is doubled"
        assert not torch.equal(plain.train().head(x), plain.head(x))


def learning_rates(network):
    """Rate by parameter: body weights 1, body biases 2, new weights 10, new biases 20."""
    groups = parameter_groups(network, optimisation(learning_rate=1.0, multipliers=(1, 2, 10, 20)))
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    return {name: rates[id(p)] for name, p in network.named_parameters()}


@pytest.mark.parametrize(
    "make, new",
    [
        (vgg16_aspp, "head.fc8."),
        (vgg16_largefov, "head.fc8."),
        (Vgg16CAM, "head.fc8."),
        (vgg16_group, "head."),
    ],
)
def test_learning_rate_groups(make, new):
    rates = learning_rates(on_meta(make, 4))
    expected = {
        name: (10 if name.startswith(new) else 1) * (2 if name.endswith("bias") else 1)
        for name in rates
    }
    assert rates == expected
    assert {1, 2, 10} <= set(rates.values())


# ----------------------------------------------------------------------- SEC's and Group-WSSS'


def test_cam_is_linear_after_fc6():
    network = seeded(Vgg16CAM, 4).eval()
    for bias in (network.head.fc6.bias, network.head.fc7.bias):
        nn.init.normal_(bias, std=0.1)
    w = network.state_dict()
    images = image()
    with torch.inference_mode():
        x = network.features(images)
        wide = F.conv2d(x, w["head.fc6.weight"], w["head.fc6.bias"], padding=1).clamp(min=0)
        described = F.conv2d(wide, w["head.fc7.weight"], w["head.fc7.bias"], padding=1)
        expected = torch.einsum("kc,nchw->nkhw", w["head.fc8.weight"][:, :, 0, 0], described)
        maps, scores = network.maps(images), network(images)
    assert (described < 0).any()
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5)
    pooled = described.mean((2, 3)) @ w["head.fc8.weight"][:, :, 0, 0].T
    torch.testing.assert_close(scores, pooled, rtol=1e-4, atol=1e-5)
    assert not torch.equal(network.train()(images), network(images)), "dropout in training"


def test_the_cam_network_takes_the_pooling_of_the_classifiers():
    images = image()
    with torch.inference_mode():
        network = seeded(Vgg16CAM, 4, top_weight=0.25, top_fraction=0.5).eval()
        cells = network.maps(images).flatten(2).sort(2, descending=True).values
        high = cells[:, :, : math.ceil(cells.shape[2] / 2)].mean(2)
        expected = 0.75 * cells.mean(2) + 0.25 * high
        torch.testing.assert_close(network(images), expected)


def test_initialisation_of_the_cam_network():
    head = seeded(Vgg16CAM, 20).head
    for layer in (head.fc6, head.fc7, head.fc8):
        assert layer.weight.std().item() == pytest.approx(0.005, rel=0.03)
    assert not head.fc6.bias.any() and not head.fc7.bias.any()


def test_group_network():
    network = seeded(vgg16_group, 20, group_size=2, graph_dropout_in_eval=True)
    assert network.group_size == 2 and network.graph_dropout_in_eval
    for layer in network.head.modules():
        if isinstance(layer, nn.Conv2d):
            deviation = layer.weight.std().item()
            assert deviation == pytest.approx(0.01, rel=3 / math.sqrt(layer.weight.numel()))
            if layer.bias is not None:
                bound = 1 / math.sqrt(layer.in_channels * layer.kernel_size[0] ** 2)
                assert 0.5 * bound < layer.bias.abs().max().item() <= bound
    with torch.inference_mode():
        result = network.eval()(image()[:, None].expand(1, 2, 3, 33, 33))
    assert result.maps.shape == (1, 2, 20, 4, 4)
    assert result.scores_before.shape == result.scores_after.shape == (1, 2, 20)


@pytest.mark.parametrize("make", (vgg16_aspp, Vgg16CAM))
def test_every_parameter_learns(make):
    network = seeded(make, 3).train()
    network(image()).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in network.parameters())
