"""Attention maps of the group network; here of one whose maps are its images' colours."""

import numpy as np
import pytest
import torch

from seedbed.data.index import ImageEntry
from seedbed.inference import group_maps
from seedbed.inference.group_maps import GroupMaps, GroupNetworkPass, fuse_sources
from seedbed.methods.group_wsss.partners import GroupIndex
from seedbed.models import build

torch.set_num_threads(1)
CPU = torch.device("cpu")
COLOURS = np.uint8(  # red, green and blue are the maps of classes 1, 2 and 3
    [[[200, 9, 0], [50, 9, 100], [0, 9, 0], [0, 9, 25]] for _ in range(4)]
)


class Colours:
    """A network whose class maps are the channels of its images."""

    def __init__(self):
        self.shown = []

    def preprocess(self, images):
        return images / 255

    def maps(self, images):
        assert images.shape == (2, 3, 4, 4)
        self.shown.append(images)
        return images

    def pass_messages(self, states):
        assert states.shape == (2, 3, 3, 4, 4)
        return states


def entries_of(names, labels=(1, 3), size=4):
    return [ImageEntry(name, "", size, size, labels, "train", True, "") for name in names]


def network_pass(network, entries, *, groups, size, seed):
    index = GroupIndex([entry.labels for entry in entries], draws=None)
    return GroupNetworkPass(
        network,
        CPU,
        index,
        group_size=3,
        groups=groups,
        size=size,
        seed=seed,
        precision="float32",
    )


@pytest.fixture
def network():
    return Colours()


@pytest.fixture
def compute(network):
    """Maps of images of the classes 1 and 3: b is coloured, its partners are black."""
    entries = entries_of("abcdefgh")

    def compute(positions, *, accumulated=None, groups=2, seed=0, power=1.0):
        of_network = network_pass(network, entries, groups=groups, size=4, seed=seed)
        maps = GroupMaps(
            entries,
            read_image=lambda entry: COLOURS if entry.id == "b" else COLOURS * 0,
            accumulated=accumulated,
            network_pass=of_network if groups else None,
            power=power,
            device=CPU,
        )
        return {entry.id: maps for entry, maps in maps.compute(positions, workers=1)}

    return compute


NETWORK = [[255, 64, 0, 0], [0, 255, 0, 64]]


def test_network_maps_are_those_of_the_image_and_its_labels(compute):
    maps = compute([1])["b"]
    assert maps.tolist() == [[row] * 4 for row in NETWORK]


def test_network_maps_are_the_mean_before_and_after_the_graph(compute, network, monkeypatch):
    monkeypatch.setattr(network, "pass_messages", lambda states: torch.full_like(states, 40 / 255))
    maps = compute([1])["b"]
    red = [255 * (level + 40) / 240 for level in (200, 50, 0, 0)]
    np.testing.assert_allclose(maps[0], [red] * 4, atol=1)


def test_active_dropout_depends_only_on_seed_and_image(compute, network, monkeypatch):
    monkeypatch.setattr(network, "pass_messages", lambda states: states + torch.rand_like(states))
    first = compute([1])["b"]
    torch.rand(5)
    assert np.array_equal(compute([0, 2, 1])["b"], first)
    assert not np.array_equal(compute([1], seed=1)["b"], first)


def test_the_backbone_sees_each_image_once_per_block(compute, network, monkeypatch):
    expected = compute(range(8), groups=3)
    assert len(network.shown) == 8
    monkeypatch.setattr(group_maps, "BLOCK", 3)
    for positions in ([5, 1, 3, 0, 7], [2, 4, 6]):  # two shards
        for name, maps in compute(positions, groups=3).items():
            np.testing.assert_array_equal(maps, expected.pop(name))
    assert not expected


def test_images_with_the_same_labels_follow_each_other():
    labels = {"a": (1, 3), "b": (2,), "c": (1, 3), "d": (2,)}
    entries = [entry for name in labels for entry in entries_of(name, labels[name])]
    maps = GroupMaps(
        entries,
        read_image=None,
        accumulated=lambda entry: np.ones((len(entry.labels), 2, 2), np.float32),
        network_pass=None,
        power=1.0,
        device=CPU,
    )
    order = [(entry.id, len(maps)) for entry, maps in maps.compute(range(4), workers=1)]
    assert order == [("a", 2), ("c", 2), ("b", 1), ("d", 1)]


def test_maps_equal_those_of_whole_groups_through_the_network():
    torch.manual_seed(0)
    model = build("tiny_group", 3, graph_dropout_in_eval=True).eval()
    for layer in model.head.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=0.3)
    pixels = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), np.uint8)
    entries = entries_of("abcde", size=16)
    maps = GroupMaps(
        entries,
        read_image=lambda entry: pixels["abcde".index(entry.id)],
        accumulated=None,
        network_pass=network_pass(model, entries, groups=2, size=16, seed=4),
        power=1.0,
        device=CPU,
    )
    for entry, attention in maps.compute([3, 0], workers=1):
        position = "abcde".index(entry.id)
        draws = np.random.default_rng([4, position])
        torch.manual_seed(4 * 1_000_003 + position)
        outputs = []
        for _ in range(2):
            members = GroupIndex([(1, 3)] * 5, draws=None).group(position, 3, draws)
            images = torch.from_numpy(pixels[members]).permute(0, 3, 1, 2).float()
            both = model.preprocess(torch.cat([images, images.flip(-1)])).unflatten(0, (2, 3))
            with torch.no_grad():
                plain, mirrored = model(both).maps[:, 0, [0, 2]]
            outputs += [plain, mirrored.flip(-1)]
        expected = fuse_sources([outputs], (16, 16), power=1.0)
        assert expected.any() and np.abs(attention.astype(int) - expected).max() <= 1


ACCUMULATED = np.stack([np.full((4, 4), 0.2), np.eye(4)]).astype(np.float32)


def test_accumulated_maps_are_divided_by_their_maximum(compute, network):
    maps = compute([1], accumulated=lambda entry: ACCUMULATED, groups=0)["b"]
    assert not network.shown
    assert maps.tolist() == [[[255] * 4] * 4, (np.eye(4, dtype=int) * 255).tolist()]


def test_two_sources_give_their_maximum_to_the_power(compute):
    maps = compute([1], accumulated=lambda entry: ACCUMULATED, groups=1, power=0.5)["b"]
    blue = np.sqrt(np.maximum(np.eye(4), np.array(NETWORK[1]) / 255))
    assert (maps[0] == 255).all()
    np.testing.assert_allclose(maps[1], blue * 255, atol=1)
