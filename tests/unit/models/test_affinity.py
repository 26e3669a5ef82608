"""AffinityNet: its affinities against a literal double loop, its head against its definition."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seedbed.methods.psa.pairs import inner_cells
from seedbed.models import build
from seedbed.models.heads.affinity import AffinityHead, AffinityNetwork
from seedbed.models.network import Backbone
from tests.unit.methods.psa.test_pairs import (
    OFFSETS,
    all_cells,
    literal_affinities,
    literal_affinity,
    noise,
    psa_sources,
)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def model():
    """AffinityNet on the mean colours of 8 x 8 pixels, three times over."""
    torch.manual_seed(0)
    coarse = Backbone(nn.Sequential(nn.AvgPool2d(8)), 3, 8, low_layers=0, low_channels=3)
    return AffinityNetwork(
        coarse, lambda features, images: (features(images),) * 3, channels=(3, 3, 3)
    )


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
