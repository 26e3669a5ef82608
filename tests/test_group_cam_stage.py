"""Maps of the group network, with a network whose maps are its images' colours."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.artefacts import write_maps
from seedbed.data.index import ImageEntry
from stages import group_cam as stage
from stages.settings import GroupCamSettings

COLOURS = np.uint8(  # red, green and blue are the maps of classes 1, 2 and 3
    [[[200, 9, 0], [50, 9, 100], [0, 9, 0], [0, 9, 25]] for _ in range(4)]
)


class Colours:
    """Shows each image's own channels, so that a mixed-up member, class or side is seen."""

    preprocess = staticmethod(lambda images: images / 255)

    def __call__(self, groups):
        assert groups.shape == (2, 3, 3, 4, 4)
        return SimpleNamespace(maps=groups)


@pytest.fixture
def miner(tmp_path, monkeypatch):
    """Make a miner of an image with the classes 1 and 3, whose partners are all black."""
    monkeypatch.setattr(stage, "network_on", lambda weights, device: Colours())
    names = "abcdefgh"
    for name in names:
        pixels = COLOURS if name == "b" else COLOURS * 0
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    entries = [ImageEntry(n, f"{n}.png", 4, 4, (1, 3), "train", True, "") for n in names]
    with write_maps(tmp_path / "kept.h5", levels=255) as maps:
        maps.put("b", np.uint8([np.full((4, 4), 51), np.eye(4) * 255]))

    def make(**settings):
        chosen = GroupCamSettings(size=4, **settings)
        files = (tmp_path / "w.pt", tmp_path / "kept.h5", 3)
        return stage.Miner(entries, *files, chosen, tmp_path, torch.device("cpu"))

    return make


NETWORK = [[255, 64, 0, 0], [0, 255, 0, 64]]


def test_network_maps_are_the_members_own_by_tag_and_side(miner):
    found = miner(source="network", groups=2).maps(1)
    assert found.tolist() == [[row] * 4 for row in NETWORK]


def test_accumulated_maps_are_divided_by_their_maximum(miner):
    found = miner(source="accumulated", groups=1).maps(1)
    assert found.tolist() == [[[255] * 4] * 4, (np.eye(4, dtype=int) * 255).tolist()]


def test_both_is_their_maximum_to_the_power(miner):
    found = miner(source="both", groups=1, power=0.5).maps(1)
    blue = np.sqrt(np.maximum(np.eye(4), np.array(NETWORK[1]) / 255))
    assert (found[0] == 255).all()
    np.testing.assert_allclose(found[1], blue * 255, atol=1)
