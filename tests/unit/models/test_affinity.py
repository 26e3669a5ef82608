"""Pair affinities against a literal double loop, and AffinityNet's head against its definition."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seedbed.methods.psa.pairs import pair_offsets
from seedbed.models import build
from seedbed.models.heads.affinity import (
    AffinityHead,
    AffinityNetwork,
    inner_cells,
    pair_affinities,
)
from seedbed.models.network import Backbone

torch.set_num_threads(1)

OFFSETS = pair_offsets()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def model():
    """AffinityNet on the mean colours of 8 x 8 pixels, three times over."""
    torch.manual_seed(0)
    coarse = Backbone(nn.Sequential(nn.AvgPool2d(8)), 3, 8, low_layers=0, low_channels=3)
    return AffinityNetwork(
        coarse, lambda features, images: (features(images),) * 3, channels=(3, 3, 3)
    )


def literal_affinity(features, y, x, row, column):
    """Of the cells (y, x) and (y + row, x + column), each with its channels."""
    difference = features[:, y, x] - features[:, y + row, x + column]
    return math.exp(-difference.abs().mean().item())


def literal_affinities(features, sources):
    """(C, h, w) → (34, h, w): 0 but for the sources' partners within the grid."""
    _, height, width = features.shape
    result = torch.zeros(34, height, width)
    for p, (row, column) in enumerate(OFFSETS):
        for y, x in sources:
            if y + row < height and 0 <= x + column < width:
                result[p, y, x] = literal_affinity(features, y, x, row, column)
    return result


def all_cells(height, width):
    return [(y, x) for y in range(height) for x in range(width)]


def psa_sources(height, width):
    """All but the last four rows and four columns at both sides, row by row."""
    return [(y, x) for y in range(height - 4) for x in range(4, width - 4)]


def test_pair_affinities_are_the_literal_double_loop():
    features = noise(2, 5, 12, 13)
    expected = torch.stack([literal_affinities(one, all_cells(12, 13)) for one in features])
    found = pair_affinities(features)
    torch.testing.assert_close(found, expected)
    assert ((found == 0) == (expected == 0)).all()
    inside = sum((12 - row) * (13 - abs(column)) for row, column in OFFSETS)
    assert (found > 0).sum() == 2 * inside


def test_two_cells_by_hand():
    features = torch.tensor([[1.0, 4.0], [2.0, 1.0]]).view(1, 2, 1, 2)
    found = pair_affinities(features)
    assert found[0, 0].flatten().tolist() == pytest.approx([math.exp(-2), 0])
    assert (found[0, 1:] == 0).all()


def test_a_grid_smaller_than_the_radius():
    features = noise(1, 4, 2, 3)
    expected = literal_affinities(features[0], all_cells(2, 3))
    torch.testing.assert_close(pair_affinities(features)[0], expected)
    assert inner_cells(pair_affinities(features)).numel() == 0


def test_gradients_are_finite_at_the_border():
    features = noise(1, 3, 6, 7).requires_grad_()
    pair_affinities(features).sum().backward()
    assert features.grad.isfinite().all()
    assert (features.grad[0].abs().sum(0) > 0).all()


def test_half_precision_is_widened_first():
    features = noise(1, 64, 8, 9).bfloat16()
    assert torch.equal(pair_affinities(features), pair_affinities(features.float()))


@pytest.mark.parametrize(
    "size, inner",
    [
        ((56, 56), (52, 48)),
        ((5, 9), (1, 1)),
        ((4, 20), (0, 12)),
        ((3, 20), (0, 12)),
        ((20, 7), (16, 0)),
        ((20, 3), (16, 0)),
    ],
)
def test_inner_cells(size, inner):
    grid = torch.arange(size[0] * size[1]).view(size)
    found = inner_cells(grid)
    assert found.shape == inner
    assert found.flatten().tolist() == [y * size[1] + x for y, x in psa_sources(*size)]


def test_forward_gives_psas_pairs(model):
    images = noise(2, 3, 96, 104)
    with torch.inference_mode():
        features, found = model.embed(images), model(images)
    sources = psa_sources(12, 13)
    assert found.shape == (2, 34, len(sources))
    expected = [
        [[literal_affinity(one, y, x, *offset) for y, x in sources] for offset in OFFSETS]
        for one in features
    ]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_both_forms_agree(model):
    images = noise(1, 3, 96, 104, seed=1)
    with torch.inference_mode():
        features, pairs = model.embed(images), model(images)
        everywhere = model.affinities(images)
        as_psa = model.affinities(images, border_sources=False)
    assert everywhere.shape == as_psa.shape == (1, 34, 12, 13)
    torch.testing.assert_close(everywhere[0], literal_affinities(features[0], all_cells(12, 13)))
    torch.testing.assert_close(as_psa[0], literal_affinities(features[0], psa_sources(12, 13)))
    torch.testing.assert_close(inner_cells(everywhere).flatten(2), pairs)


def test_too_small_an_image_to_train_on(model):
    with pytest.raises(ValueError, match="images: 64x64 px"):
        model(noise(1, 3, 64, 64))
    assert model.affinities(noise(1, 3, 64, 64)).shape == (1, 34, 8, 8)
    assert (model.affinities(noise(1, 3, 64, 64), border_sources=False) == 0).all()


@pytest.mark.parametrize("norm", (False, True))
def test_head_is_the_literal_one(norm):
    torch.manual_seed(0)
    head = AffinityHead((6, 7, 8), norm=norm)
    levels = [noise(2, channels, 3, 4, seed=channels) for channels in (6, 7, 8)]
    joined = []
    for level, features in zip((3, 4, 5), levels, strict=True):
        x = F.conv2d(features, head.get_parameter(f"f8_{level}.weight"))
        if norm:
            scale, shift = nn.init.normal_(torch.empty(2, x.shape[1]))
            layer = head.get_submodule(f"gn8_{level}")
            layer.load_state_dict({"weight": scale, "bias": shift})
            x = F.group_norm(x, {3: 8, 4: 16, 5: 32}[level], scale, shift)
        joined.append(F.elu(x))
    assert [x.shape[1] for x in joined] == [64, 128, 256]
    expected = F.elu(F.conv2d(torch.cat(joined, 1), head.f9.weight))
    assert expected.shape == (2, 448, 3, 4)
    torch.testing.assert_close(head(*levels), expected)


def test_head_keys_and_initialisation():
    torch.manual_seed(0)
    head = AffinityHead((512, 1024, 4096), norm=False)
    shapes = {name: tuple(weight.shape[:2]) for name, weight in head.state_dict().items()}
    assert shapes == {
        "f8_3.weight": (64, 512),
        "f8_4.weight": (128, 1024),
        "f8_5.weight": (256, 4096),
        "f9.weight": (448, 448),
    }
    for layer, inputs in ((head.f8_3, 512), (head.f8_4, 1024), (head.f8_5, 4096)):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / inputs), rel=0.02)
    bound = 4 * math.sqrt(6 / (448 + 448))
    assert 0.99 * bound < head.f9.weight.abs().max() <= bound


def test_every_new_layer_learns(model):
    model.train()(noise(1, 3, 96, 96)).sum().backward()
    assert all(p.grad.abs().max() > 0 for p in model.head.parameters())
    assert [name for name, _ in model.named_parameters() if name.startswith(model.new_parts)] == [
        "head.f8_3.weight",
        "head.f8_4.weight",
        "head.f8_5.weight",
        "head.f9.weight",
    ]


def test_mobilenet_compares_its_deepest_features_at_stride_8():
    model = build("mobilenet_v2_affinity", 20).eval()
    levels = model.levels(model.features, noise(1, 3, 80, 96))
    assert [tuple(level.shape[1:]) for level in levels] == [
        (96, 10, 12),
        (320, 10, 12),
        (1280, 10, 12),
    ]
    assert torch.equal(levels[2], model.features(noise(1, 3, 80, 96)))
    assert torch.equal(levels[1], model.features[:18](noise(1, 3, 80, 96)))
    assert torch.equal(levels[0], model.features[:14](noise(1, 3, 80, 96)))
    assert set(model.new_parts) == {"head.f8_", "head.f9."}
