"""Maps of the group network, here one whose maps are its images' colours, or of a folder."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.artefacts import Maps, write_maps
from seedbed.attention_files import write_attention
from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.errors import UserError
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


def test_a_dropout_that_stays_on_draws_the_same_for_an_image(miner, monkeypatch):
    class Noisy(Colours):
        def __call__(self, groups):
            return SimpleNamespace(maps=groups + torch.rand_like(groups))

    monkeypatch.setattr(stage, "network_on", lambda weights, device: Noisy())
    first = miner(source="network").maps(1)
    torch.rand(5)
    assert np.array_equal(miner(source="network").maps(1), first)
    assert not np.array_equal(miner(source="network", seed=1).maps(1), first)


def test_accumulated_maps_are_divided_by_their_maximum(miner):
    found = miner(source="accumulated", groups=1).maps(1)
    assert found.tolist() == [[[255] * 4] * 4, (np.eye(4, dtype=int) * 255).tolist()]


def test_both_is_their_maximum_to_the_power(miner):
    found = miner(source="both", groups=1, power=0.5).maps(1)
    blue = np.sqrt(np.maximum(np.eye(4), np.array(NETWORK[1]) / 255))
    assert (found[0] == 255).all()
    np.testing.assert_allclose(found[1], blue * 255, atol=1)


@pytest.fixture
def made(tmp_path):
    """Run the stage on one image of 2 by 4 pixels with two of three classes, and a folder."""
    classes = (ClassInfo("dog", 12), ClassInfo("cow", 10), ClassInfo("cat", 8))
    images = (ImageEntry("a", "a.png", 2, 4, (1, 3), "train", True, ""),)
    Index(classes, images, "annotations").save(tmp_path / "index.json")

    def run(maps=None, **settings):
        if maps:
            write_attention(tmp_path / "maps", "a", maps)
            settings["maps"] = "maps"
        stage.group_cam(
            index=tmp_path / "index.json",
            shard="1-of-1",
            output=tmp_path / "cam.h5",
            settings=GroupCamSettings(**settings),
            group_size=3,
            data=tmp_path,
            device="cpu",
            workers=1,
        )
        return Maps(tmp_path / "cam.h5")

    return run


RAMP = np.array([[0, 0.2, 0.4, 0.8]] * 2)


def test_given_maps_are_those_of_the_tags_divided_by_their_maximum(made):
    found = made({12: RAMP, 8: RAMP[::-1, ::-1], 10: RAMP * 0})
    assert found["a"].tolist() == [[[0, 64, 127, 255]] * 2, [[255, 127, 64, 0]] * 2]
    about = found.attributes("a")
    assert about["levels"] == 255 and about["classes"].tolist() == [1, 3]


def test_given_grids_are_resized_between_pixel_centres(made):
    """Columns 0 and 1 of the grid lie at 0.5 and 2.5 of 4 pixels; a missing map is zero."""
    found = made({12: np.array([[0, 1], [0, 1]])}, power=0.5)
    expected = 255 * np.sqrt([0, 0.25, 0.75, 1])
    np.testing.assert_allclose(found["a"][0], [expected] * 2, atol=1)
    assert not found["a"][1].any()


def test_maps_that_do_not_fit_are_named(made):
    with pytest.raises(UserError, match="--weights and --kept"):
        made()
    with pytest.raises(UserError, match=r"maps has no attention map of a \(a_11.png, a_7.png\)"):
        made({10: RAMP})
    with pytest.raises(UserError, match=r"a_7\.png is \(4, 4\), and a_11\.png \(2, 4\)"):
        made({12: RAMP, 8: np.eye(4)})
