import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seedbed.models import NETWORKS, build
from seedbed.models.folding import FoldedSequential, dilated_on_grids
from seedbed.models.heads.classification import Pooling
from seedbed.models.heads.group import graph_dropout
from seedbed.models.layers import FrozenBatchNorm, conv
from seedbed.models.network import IMAGENET, Backbone, Network, Preprocessing

torch.set_num_threads(1)

CLASSES = 4
BACKBONES = ("tiny", "squeezenet1_0", "mobilenet_v2")
SMALL = [  # the rest have their own tests
    name for name in NETWORKS if name.startswith(BACKBONES) and not name.endswith("_affinity")
]


def images(height, width, count=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=generator, dtype=torch.uint8)


def made(name, seed=0, **options):
    torch.manual_seed(seed)
    return build(name, CLASSES, **options)


def ceil_div(size, stride):
    return math.ceil(size / stride)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="num_classes"):
        build("tiny_cls", 0)
    with pytest.raises(TypeError, match="colour"):
        build("tiny_cls", 3, colour=1)
    for name in SMALL:
        with pytest.raises(ValueError, match="output_stride"):
            build(name, 3, output_stride=7)
    with pytest.raises(ValueError, match="top_weight"):
        build("tiny_cls", 3, top_weight=1.5)


@pytest.mark.parametrize("name", [name for name in NETWORKS if not name.endswith("_affinity")])
def test_the_min_side_is_enough_and_needed(name):
    with torch.device("meta"):
        network = build(name, CLASSES).eval()

    def see(side):
        seen = torch.zeros(1, 3, side, 2 * side, device="meta")
        return network.maps(seen) if name.endswith("_group") else network(seen)

    see(network.min_side)
    if network.min_side > 1:
        with pytest.raises(RuntimeError, match=r"too small|greater than actual input"):
            see(network.min_side - 1)


def test_preprocess_is_imagenets():
    x = torch.tensor([0, 128, 255], dtype=torch.uint8).view(1, 3, 1, 1).expand(2, 3, 5, 4)
    expected = [-0.485 / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    result = made("tiny_cls").preprocess(x)
    assert result.shape == (2, 3, 5, 4) and result.dtype == torch.float32
    torch.testing.assert_close(result[1, :, 2, 2], torch.tensor(expected))


def test_preprocess_of_caffes_networks():
    """Levels less the mean, blue first."""
    x = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1)
    preprocessing = Preprocessing(1, mean=(5, 4, 3), bgr=True)
    model = Network(Backbone(nn.Identity(), 3, 1, None, 0, preprocessing=preprocessing))
    assert model.preprocess(x).flatten().tolist() == [25, 16, 7]


def test_mean_and_std_go_where_the_network_goes_and_into_no_file():
    model, x = made("tiny_cls"), images(5, 4)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET.mean, IMAGENET.std))
    expected = (x.float() / 255 - mean) / std
    assert {"mean", "std"} <= dict(model.named_buffers()).keys()
    assert not {"mean", "std"} & model.state_dict().keys()
    assert torch.equal(model.preprocess(x), expected)
    assert torch.equal(copy.deepcopy(model).preprocess(x), expected)
    half = copy.deepcopy(model).half().preprocess(x)
    torch.testing.assert_close(half, expected, rtol=0, atol=0.01)
    assert model.to("meta").preprocess(x.to("meta")).shape == x.shape


def test_frozen_batch_norm_never_learns():
    norm = FrozenBatchNorm(2).train()
    x = torch.randn(4, 2, 3, 3) + 5
    torch.testing.assert_close(norm(x), x / math.sqrt(1 + norm.eps))
    assert norm.running_mean.tolist() == [0, 0]
    assert not any(p.requires_grad for p in norm.parameters())


@pytest.mark.parametrize("height, width", [(65, 97), (64, 96), (101, 75)])
@pytest.mark.parametrize("backbone", ("tiny", "mobilenet_v2"))
def test_padded_networks_give_maps_of_their_stride(backbone, height, width):
    for head in ("cls", "seg", "group"):
        model = made(f"{backbone}_{head}").eval()
        x = model.preprocess(images(height, width, 3))
        expected = (CLASSES, ceil_div(height, model.stride), ceil_div(width, model.stride))
        with torch.inference_mode():
            result = {
                "cls": lambda m=model, x=x: m.maps(x),
                "seg": lambda m=model, x=x: m(x),
                "group": lambda m=model, x=x: m(x[None]).maps[0],
            }[head]()
        assert result.shape == (3, *expected)


def test_strides():
    strides = {name: build(name, 2).stride for name in SMALL}
    assert strides == {
        "tiny_cls": 4,
        "tiny_seg": 4,
        "tiny_group": 4,
        "squeezenet1_0_cls": 16,
        "squeezenet1_0_seg": 4,
        "squeezenet1_0_group": 16,
        "mobilenet_v2_cls": 16,
        "mobilenet_v2_seg": 4,
        "mobilenet_v2_group": 16,
    }
    assert build("mobilenet_v2_seg", 2, skip=False).stride == 8
    assert build("squeezenet1_0_seg", 2, skip=False, output_stride=16).stride == 16


@pytest.mark.parametrize(
    "options, grid",
    [({}, (30, 62)), ({"skip": False}, (15, 31)), ({"output_stride": 16}, (30, 62))],
)
def test_squeezenet_segmenter_on_its_ceil_mode_grid(options, grid):
    model = made("squeezenet1_0_seg", **options).eval()
    with torch.inference_mode():
        # 125 → conv 60 → pool 30 → 15; 253 → 124 → 62 → 31: only ceil mode gives the even ones.
        assert model(model.preprocess(images(125, 253))).shape == (1, CLASSES, *grid)


def test_squeezenet_finer_stride_holds_the_coarser_one():
    coarse, fine = made("squeezenet1_0_cls"), made("squeezenet1_0_cls", output_stride=8)
    x = coarse.preprocess(images(133, 165))
    with torch.inference_mode():
        inner = fine.features(x)[:, :, 1::2, 1::2]
        assert inner.std() > 1e-2, "else the comparison says nothing"
        torch.testing.assert_close(inner, coarse.features(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride, step", [(16, 2), (8, 4)])
def test_mobilenet_finer_stride_holds_the_coarser_one(stride, step):
    coarse = made("mobilenet_v2_cls", output_stride=32).eval()
    fine = made("mobilenet_v2_cls", output_stride=stride).eval()
    x = coarse.preprocess(images(97, 130))
    with torch.inference_mode():
        inner = fine.features(x)[:, :, ::step, ::step]
        assert inner.std() > 1e-2, "else the comparison says nothing"
        torch.testing.assert_close(inner, coarse.features(x), rtol=1e-4, atol=1e-5)


def test_published_key_names():
    squeezenet = build("squeezenet1_0_seg", 2).state_dict()
    assert squeezenet["features.0.weight"].shape == (96, 3, 7, 7)
    assert squeezenet["features.3.squeeze.weight"].shape == (16, 96, 1, 1)
    assert squeezenet["features.12.expand3x3.weight"].shape == (256, 64, 3, 3)
    mobilenet = build("mobilenet_v2_cls", 2).state_dict()
    assert mobilenet["features.0.0.weight"].shape == (32, 3, 3, 3)
    assert mobilenet["features.1.conv.1.weight"].shape == (16, 32, 1, 1)
    assert mobilenet["features.17.conv.1.0.weight"].shape == (960, 1, 3, 3)
    assert mobilenet["features.17.conv.3.running_var"].shape == (320,)
    assert mobilenet["features.18.1.num_batches_tracked"].shape == ()


def backbone_parameters(name):
    return sum(p.numel() for p in build(name, 4).features.parameters())


def test_parameter_counts():
    # Torchvision's networks without their classifiers of 513 000 and 1 281 000 parameters.
    assert backbone_parameters("squeezenet1_0_cls") == 1_248_424 - 513_000
    assert backbone_parameters("mobilenet_v2_cls") == 3_504_872 - 1_281_000
    assert 70_000 < sum(p.numel() for p in build("tiny_cls", 4).parameters()) < 80_000
    assert 250_000 < sum(p.numel() for p in build("tiny_seg", 5).parameters()) < 280_000


@pytest.mark.parametrize("name", SMALL)
def test_new_parts_cover_what_no_checkpoint_holds(name):
    model = build(name, 3)
    new = {n for n, _ in model.named_parameters() if n.startswith(model.new_parts)}
    backbone = {n for n, _ in model.named_parameters() if n.startswith("features.")}
    every = {n for n, _ in model.named_parameters()}
    assert new == (every if name.startswith("tiny") else every - backbone)
    assert every - backbone


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_fixes_the_network(name):
    first, again, other = (made(name, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@pytest.mark.parametrize("name", SMALL)
def test_every_parameter_learns(name):
    model = made(name).train()
    x = model.preprocess(images(64, 64, 3))
    result = model(x[None]).scores_after if name.endswith("group") else model(x)
    result.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_pooling_by_hand():
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 10.0]]]])
    assert Pooling(0.0, 0.3)(maps).item() == 4.0
    assert Pooling(1.0, 0.25)(maps).item() == 10.0
    assert Pooling(1.0, 0.01)(maps).item() == 10.0
    assert Pooling(1.0, 0.5)(maps).item() == 6.5
    assert Pooling(0.2, 0.5)(maps).item() == pytest.approx(0.8 * 4 + 0.2 * 6.5)


def test_classifier_scores_are_its_pooled_maps():
    model = made("squeezenet1_0_cls", top_weight=0.4, dropout=0.5).eval()
    x = model.preprocess(images(64, 80, 2))
    weight = model.state_dict()["head.1.weight"]
    with torch.inference_mode():
        expected = F.conv2d(model.features(x) * 0.1, weight)
        torch.testing.assert_close(model.maps(x), expected)
        torch.testing.assert_close(model(x), Pooling(0.4, 0.3)(expected))
    model.train()
    assert not torch.equal(model(x), model(x)), "dropout is drawn anew in training"


def test_batch_norm_freezes_in_mobilenet_and_learns_in_tiny():
    for backbone, frozen in (("mobilenet_v2", True), ("tiny", False)):
        model = made(f"{backbone}_seg").train()
        before = {key: value.clone() for key, value in model.state_dict().items()}
        model(model.preprocess(images(64, 64, 2)))
        after = model.state_dict()
        means = [key for key in before if key.endswith("running_mean")]
        assert means and all(torch.equal(before[key], after[key]) == frozen for key in means)


def slow_attended(graph, receiver, sender):
    """What one position of the receiver after another hears of the sender; both (K, h, w)."""
    queries, keys = graph.receiver(receiver[None])[0], graph.sender(sender[None])[0]
    result = torch.zeros_like(receiver)
    for row in range(receiver.shape[1]):
        for column in range(receiver.shape[2]):
            weights = (queries[:, row, column, None, None] * keys).sum(0).exp()
            result[:, row, column] = (sender * weights / weights.sum()).sum((1, 2))
    return result


def slow_node(graph, states, node):
    messages = []
    for other in range(len(states)):
        if other != node:
            attended = slow_attended(graph, states[node], states[other])
            gate = 1 / (1 + torch.exp(-(graph.gate.weight[0] * attended).sum(0)))
            messages.append(attended * gate)
    m, h, gru = graph.fuse(torch.cat(messages)[None]), states[node][None], graph.gru
    z = torch.sigmoid(gru.update(torch.cat([m, h], 1)))
    r = torch.sigmoid(gru.reset(torch.cat([m, h], 1)))
    new = torch.tanh(gru.candidate(torch.cat([m, r * h], 1)))
    return ((1 - z) * h + z * new)[0]


def slow_graph(graph, states):
    for _ in range(3):
        states = [slow_node(graph, states, node) for node in range(len(states))]
    return torch.stack(states)


@pytest.mark.parametrize("size", (2, 3, 4))
def test_message_passing_is_the_literal_loop(size):
    model = made("tiny_group", group_size=size).eval()
    for parameter in model.head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = model.preprocess(images(24, 32, 2 * size)).unflatten(0, (2, size))
    with torch.inference_mode():
        result = model(x)
        before = model.head.extra(model.features(x.flatten(0, 1))).unflatten(0, (2, size))
        after = torch.stack([slow_graph(model.head.graph, list(group)) for group in before])
    assert (after - before).abs().max() > 0.1
    torch.testing.assert_close(result.maps, (before + after) / 2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result.scores_before, before.mean((3, 4)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(result.scores_after, after.mean((3, 4)), rtol=1e-4, atol=1e-5)


def test_group_of_another_size_is_refused():
    model = made("tiny_group")
    with pytest.raises(ValueError, match="groups of 2, not of 3"):
        model(torch.zeros(1, 2, 3, 32, 32))
    with pytest.raises(ValueError, match="group_size"):
        build("tiny_group", 2, group_size=1)


def test_one_class_can_be_mined():
    model = build("tiny_group", 1).eval()
    assert model(torch.zeros(1, 3, 3, 32, 32)).maps.shape == (1, 3, 1, 8, 8)


def test_graph_dropout_by_hand(monkeypatch):
    states = torch.tensor([[[2.0, 0.0], [0.0, 4.0]], [[2.0, 4.0], [0.0, 6.0]]])  # 2 channels
    states = torch.stack([states, states])[None]  # two nodes; means 2, 2, 0, 5
    draws = torch.tensor([0.79, 0.81]).view(1, 2, 1, 1, 1)
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: draws)
    masked, weighted = graph_dropout(states)[0]
    expected = states[0, 0].clone()
    expected[:, 1, 1] /= 2  # 5 alone reaches 0.7 · 5
    torch.testing.assert_close(masked, expected)
    sigmoid = torch.tensor([[2.0, 2.0], [0.0, 5.0]]).sigmoid()
    torch.testing.assert_close(weighted, (states[0, 1] * sigmoid + states[0, 1]) / 2)


def test_graph_dropout_drops_eight_times_in_ten():
    torch.manual_seed(0)
    states = torch.tensor([1.0, 0.0]).view(1, 1, 1, 1, 2).expand(1000, 2, 1, 1, 2)
    halved = (graph_dropout(states)[..., 0] == 0.5).float().mean().item()
    assert halved == pytest.approx(0.8, abs=0.03)


def group_maps(model, x, seed):
    torch.manual_seed(seed)
    with torch.inference_mode():
        return model(x).maps


def test_graph_dropout_in_training_and_by_the_switch():
    x = made("tiny_group").preprocess(images(64, 64, 3))[None]
    plain, switched = made("tiny_group").eval(), made("tiny_group", graph_dropout_in_eval=True)
    switched.eval()
    assert torch.equal(group_maps(plain, x, 0), group_maps(plain, x, 1))
    assert not torch.equal(group_maps(switched, x, 0), group_maps(switched, x, 1))
    assert torch.equal(group_maps(switched, x, 1), group_maps(switched, x, 1))
    trained = made("tiny_group").train()
    trained.features.eval(), trained.head.extra.eval()
    assert torch.equal(group_maps(trained, x, 1), group_maps(switched, x, 1))


@pytest.mark.parametrize(("dilation", "size"), [(2, (8, 6)), (4, (9, 7)), (3, (2, 10))])
def test_a_dilated_convolution_is_undilated_ones_of_grids(dilation, size):
    torch.manual_seed(0)
    features = torch.randn(2, 4, *size, requires_grad=True)
    weight, bias = torch.randn(8, 1, 3, 3, requires_grad=True), torch.randn(8, requires_grad=True)
    inputs = (features, weight, bias)
    direct = F.conv2d(*inputs, padding=dilation, dilation=dilation, groups=4)
    grids = dilated_on_grids(*inputs, dilation, groups=4)
    torch.testing.assert_close(grids, direct)
    assert grids.is_contiguous(memory_format=torch.channels_last)
    change = torch.randn_like(direct)
    for ours, theirs in zip(
        torch.autograd.grad(grids, inputs, change),
        torch.autograd.grad(direct, inputs, change),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(
    "options",
    [
        {"dilation": 2},
        {"dilation": 2, "groups": 6},
        {"dilation": 2, "groups": 6, "padding": 1},  # does not keep the size
        {"kernel": 1},
        {"kernel": 1, "padding": 1},
    ],
)
def test_a_folded_norm_gives_the_norm_s_outputs_and_gradients(options):
    torch.manual_seed(0)
    layers = [
        conv(6, 12, bias=False, **options),
        FrozenBatchNorm(12, affine_learns=True),
        nn.ReLU6(inplace=True),
        conv(12, 4, 1),
        nn.BatchNorm2d(4).eval(),
    ]
    norm = layers[1]
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        tensor.uniform_(0.5, 2)
    features = torch.randn(2, 6, 9, 8)
    results = []
    for sequence in (nn.Sequential(*layers), FoldedSequential(*layers)):
        sequence.zero_grad()
        output = sequence(features)
        output.square().sum().backward()
        results.append([output, *(p.grad for p in sequence.parameters())])
    for folded, plain in zip(*results, strict=True):
        assert plain.abs().sum() > 0
        torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-4)
    assert [*FoldedSequential(*layers).state_dict()] == [*nn.Sequential(*layers).state_dict()]
    assert torch.equal(FoldedSequential()(features), features)
