"""The group_cam stage: maps of a folder, and the source that the settings name."""

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.formats.group_wsss import write_attention
from seedbed.formats.maps import Maps, write_maps
from seedbed.models import build
from seedbed.models.weights import save_network
from seedbed.runtime.errors import UserError
from stages import group_cam as stage
from stages.group_cam import group_cam
from stages.settings import GroupCamSettings

torch.set_num_threads(1)


@pytest.fixture
def made(tmp_path):
    """Run the stage on one image of 2 by 4 pixels with two of three classes, and a folder."""
    classes = (ClassInfo("dog", 12), ClassInfo("cow", 10), ClassInfo("cat", 8))
    images = (ImageEntry("a", "a.png", 2, 4, (1, 3), "train", True, ""),)
    Index(classes, images, "annotations").save(tmp_path / "index.json")

    def run(maps=None, files=None, **settings):
        if maps:
            write_attention(tmp_path / "maps", "a", maps)
            settings["maps"] = "maps"
        group_cam(
            index=tmp_path / "index.json",
            shard="1-of-1",
            output=tmp_path / "cam.h5",
            settings=GroupCamSettings(**settings),
            group_size=3,
            data=tmp_path,
            device="cpu",
            workers=1,
            **(files or {}),
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


def test_missing_maps_are_counted_and_names_may_be_in_capitals(made, tmp_path, capsys):
    made({12: RAMP, 8: RAMP})
    assert "count as zeros" not in capsys.readouterr().out
    (tmp_path / "maps/a_11.png").rename(tmp_path / "maps/A_11.PNG")
    (tmp_path / "maps/a_7.png").unlink()
    found = made({10: RAMP})["a"]  # writes a map that is no label's
    assert found[0].max() == 255 and not found[1].any()
    line = f"1 maps are not in {tmp_path / 'maps'} and count as zeros: a_7.png"
    assert line in capsys.readouterr().out.splitlines()


def test_maps_that_do_not_fit_are_named(made):
    with pytest.raises(UserError, match="--weights and --kept"):
        made()
    with pytest.raises(UserError, match=r"maps has no attention map of a \(a_11.png, a_7.png\)"):
        made({10: RAMP})
    with pytest.raises(UserError, match=r"a_7\.png is \(4, 4\), and a_11\.png \(2, 4\)"):
        made({12: RAMP, 8: np.eye(4)})


def test_the_source_is_that_of_the_settings(made, tmp_path):
    Image.fromarray(np.full((2, 4, 3), 90, np.uint8)).save(tmp_path / "a.png")
    files = {"weights": tmp_path / "w.pt", "kept": tmp_path / "kept.h5"}
    torch.manual_seed(0)
    classes = ["dog", "cow", "cat"]
    save_network(files["weights"], build("tiny_group", 3), "tiny_group", 3, {}, classes)
    with write_maps(files["kept"], levels=255) as maps:
        maps.put("a", np.full((2, 2, 4), 51, np.uint8))
    shared = {"files": files, "size": 16, "groups": 1}
    sources = ("accumulated", "network", "both")
    accumulated, network, both = (made(**shared, source=source)["a"] for source in sources)
    assert (accumulated == 255).all()
    assert (both == np.maximum(accumulated, network)).all()
    assert network.shape == (2, 2, 4)


@pytest.mark.parametrize("source", ["network", "both", "accumulated"])
def test_the_pass_of_the_network_is_the_settings_one(tmp_path, monkeypatch, source):
    monkeypatch.setattr(
        stage, "load_network_cached", lambda weights, device, kind: (weights, device, kind)
    )
    entries = [ImageEntry("a", "a.png", 2, 4, (1, 3), "train", True, "")]
    settings = {"groups": 5, "size": 24, "seed": 7, "precision": "bfloat16"}
    weights, cpu = tmp_path / "w.pt", torch.device("cpu")
    chosen = GroupCamSettings(**settings, source=source, power=0.5)
    maps = stage.attention_maps(entries, weights, tmp_path / "k.h5", 3, chosen, tmp_path, cpu)
    assert maps.power == 0.5 and (maps.accumulated is None) == (source == "network")
    found = maps.network_pass
    assert (found is None) == (source == "accumulated")
    if found:
        assert {name: getattr(found, name) for name in settings} == settings
        assert found.network == (weights, cpu, "group") and found.group_size == 3
