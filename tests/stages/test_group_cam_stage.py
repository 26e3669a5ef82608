"""Maps of the group network, here one whose maps are its images' colours, or of a folder."""

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.formats.group_wsss import write_attention
from seedbed.formats.maps import Maps, write_maps
from seedbed.methods.cam import combine_scales
from seedbed.methods.group_wsss.partners import GroupIndex
from seedbed.models import build
from seedbed.models.weights import save_network
from seedbed.runtime.errors import UserError
from stages import group_cam as stage
from stages.settings import GroupCamSettings

torch.set_num_threads(1)
COLOURS = np.uint8(  # red, green and blue are the maps of classes 1, 2 and 3
    [[[200, 9, 0], [50, 9, 100], [0, 9, 0], [0, 9, 25]] for _ in range(4)]
)


class Colours:
    """Shows each image's own channels, so that a mixed-up member, class or side is seen."""

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


@pytest.fixture
def miner(tmp_path, monkeypatch):
    """Make a miner of an image with the classes 1 and 3, whose partners are all black."""
    network = Colours()
    monkeypatch.setattr(stage, "network_on", lambda weights, device: network)
    names = "abcdefgh"
    for name in names:
        pixels = COLOURS if name == "b" else COLOURS * 0
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    entries = [ImageEntry(n, f"{n}.png", 4, 4, (1, 3), "train", True, "") for n in names]
    with write_maps(tmp_path / "kept.h5", levels=255) as maps:
        maps.put("b", np.uint8([np.full((4, 4), 51), np.eye(4) * 255]))

    def mine(positions, **settings):
        chosen = GroupCamSettings(size=4, **settings)
        files = (tmp_path / "w.pt", tmp_path / "kept.h5", 3)
        miner = stage.Miner(entries, *files, chosen, tmp_path, torch.device("cpu"))
        return {entry.id: maps for entry, maps in miner.maps(positions, workers=1)}

    mine.network = network
    return mine


NETWORK = [[255, 64, 0, 0], [0, 255, 0, 64]]


def test_network_maps_are_the_members_own_by_tag_and_side(miner):
    found = miner([1], source="network", groups=2)["b"]
    assert found.tolist() == [[row] * 4 for row in NETWORK]


def test_network_maps_are_the_mean_of_both_ends_of_the_graph(miner, monkeypatch):
    monkeypatch.setattr(
        miner.network, "pass_messages", lambda states: torch.full_like(states, 40 / 255)
    )
    found = miner([1], source="network")["b"]
    red = [255 * (level + 40) / 240 for level in (200, 50, 0, 0)]
    np.testing.assert_allclose(found[0], [red] * 4, atol=1)


def test_a_dropout_that_stays_on_draws_the_same_for_an_image(miner, monkeypatch):
    monkeypatch.setattr(
        miner.network, "pass_messages", lambda states: states + torch.rand_like(states)
    )
    first = miner([1], source="network")["b"]
    torch.rand(5)
    assert np.array_equal(miner([0, 2, 1], source="network")["b"], first)
    assert not np.array_equal(miner([1], source="network", seed=1)["b"], first)


def test_every_image_goes_through_the_backbone_once_a_block(miner, monkeypatch):
    whole = miner(range(8), source="network", groups=3)
    assert len(miner.network.shown) == 8
    monkeypatch.setattr(stage, "BLOCK", 3)
    for positions in ([5, 1, 3, 0, 7], [2, 4, 6]):  # as two shards do
        for name, maps in miner(positions, source="network", groups=3).items():
            np.testing.assert_array_equal(maps, whole.pop(name))
    assert not whole


def test_images_with_the_same_labels_come_together(tmp_path, monkeypatch):
    labels = [(1, 3), (2,), (1, 3), (2,)]
    entries = [
        ImageEntry(n, "", 4, 4, c, "train", True, "") for n, c in zip("abcd", labels, strict=True)
    ]
    with write_maps(tmp_path / "kept.h5", levels=255) as maps:
        for entry in entries:
            maps.put(entry.id, np.full((len(entry.labels), 2, 2), 9, np.uint8))
    arguments = (tmp_path / "w.pt", tmp_path / "kept.h5", 3, GroupCamSettings(), tmp_path)
    found = stage.Miner(entries, *arguments, torch.device("cpu")).maps(range(4), 1)
    assert [(entry.id, len(maps)) for entry, maps in found] == [
        ("a", 2),
        ("c", 2),
        ("b", 1),
        ("d", 1),
    ]


def test_maps_are_those_of_whole_groups_in_the_network(tmp_path):
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    model = build("tiny_group", 3, graph_dropout_in_eval=True).eval()
    for layer in model.head.modules():
        if isinstance(layer, torch.nn.Conv2d):
            torch.nn.init.normal_(layer.weight, std=0.3)
    options = {"graph_dropout_in_eval": True}
    save_network(tmp_path / "w.pt", model, "tiny_group", 3, options, ["x", "y", "z"])
    pixels = random.integers(0, 256, (5, 16, 16, 3), np.uint8)
    for image, name in zip(pixels, "abcde", strict=True):
        Image.fromarray(image).save(tmp_path / f"{name}.png")
    entries = [ImageEntry(n, f"{n}.png", 16, 16, (1, 3), "train", True, "") for n in "abcde"]
    settings = GroupCamSettings(size=16, source="network", groups=2, seed=4)
    files = (tmp_path / "w.pt", tmp_path / "none.h5", 3)
    miner = stage.Miner(entries, *files, settings, tmp_path, torch.device("cpu"))
    for entry, found in miner.maps([3, 0], 1):
        position = "abcde".index(entry.id)
        draws = np.random.default_rng([4, position])
        torch.manual_seed(4 * 1_000_003 + position)
        sides = []
        for _ in range(2):
            members = GroupIndex([(1, 3)] * 5).group(position, 3, draws)
            shown = torch.from_numpy(pixels[members]).permute(0, 3, 1, 2).float()
            both = model.preprocess(torch.cat([shown, shown.flip(-1)])).unflatten(0, (2, 3))
            with torch.no_grad():
                plain, mirrored = model(both).maps[:, 0, [0, 2]]
            sides += [plain, mirrored.flip(-1)]
        expected = stage.finish([combine_scales(sides, (16, 16))], settings)
        assert expected.any() and np.abs(found.astype(int) - expected).max() <= 1


def test_accumulated_maps_are_divided_by_their_maximum(miner):
    found = miner([1], source="accumulated", groups=1)["b"]
    assert not miner.network.shown
    assert found.tolist() == [[[255] * 4] * 4, (np.eye(4, dtype=int) * 255).tolist()]


def test_both_is_their_maximum_to_the_power(miner):
    found = miner([1], source="both", groups=1, power=0.5)["b"]
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
