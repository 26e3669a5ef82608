"""Localisation cues: made from maps, or taken from a file of DSRG's format."""

import pickle

import numpy as np
import pytest
from PIL import Image

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.formats.cue_pickle import write_cue_pickle
from seedbed.formats.maps import Maps, write_maps
from seedbed.runtime.errors import UserError
from stages.seeds import seeds
from stages.settings import SeedSettings

CLASSES = (ClassInfo("dog", 12), ClassInfo("cat", 8))  # not in VOC's order
IMAGES = tuple(
    ImageEntry(one, "a.png", 2, 2, labels, split, True, "")
    for one, labels, split in (("a", (1,), "train"), ("b", (1, 2), "train"), ("v", (2,), "val"))
)


def dense(cells, classes=21):
    """Cues on a 2×2 grid from {class: [(row, column), ...]}."""
    cues = np.zeros((classes, 2, 2), bool)
    for c, places in cells.items():
        cues[(c, *np.transpose(places))] = True
    return cues


A = {0: [(0, 0)], 12: [(1, 0), (1, 1)]}
B = {0: [(0, 0), (0, 1)], 8: [(1, 0)], 12: [(1, 1)]}


@pytest.fixture
def made(tmp_path):
    """Run the stage; returns the cues by id."""
    Index(CLASSES, IMAGES, "annotations").save(tmp_path / "index.json")
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "a.png")

    def run(grid=2, **inputs):
        seeds(
            index=tmp_path / "index.json",
            cues=tmp_path / "seeds/cues.h5",
            pickle=tmp_path / "seeds/cues.pickle",
            preview=tmp_path / "seeds/preview",
            settings=SeedSettings(grid=grid),
            data=tmp_path,
            **inputs,
        )
        found = Maps(tmp_path / "seeds/cues.h5")
        return {name: found[name] for name in found}

    return run


@pytest.fixture
def given(tmp_path):
    """A file of three images: the train images, the other way round, and one that none knows."""
    cues = [dense(B), dense({0: [(0, 0)], 3: [(1, 1)]}), dense({**A, 15: [(0, 1)]})]
    write_cue_pickle(tmp_path / "given.pickle", cues, [(8, 12), (3,), (12, 15)])
    (tmp_path / "list.txt").write_text("b.jpg 0\nelsewhere.jpg 1\na.jpg 2\n")
    return {"cue_pickle": tmp_path / "given.pickle", "cue_list": tmp_path / "list.txt"}


def published(path):
    return {
        key: np.asarray(value).tolist()
        for key, value in pickle.loads(path.read_bytes(), encoding="latin1").items()
    }


def expected():
    ours = {0: 0, 12: 1, 8: 2}
    return [dense({ours[c]: cells for c, cells in one.items()}, classes=3) for one in (A, B)]


def test_given_cues_are_found_by_the_list(made, given, tmp_path):
    """A person, 15, is not in the index: its cue falls out."""
    found = made(**given)
    assert list(found) == ["a", "b"]
    assert all((found[name] == cue).all() for name, cue in zip("ab", expected(), strict=True))
    assert {path.name for path in (tmp_path / "seeds/preview").iterdir()} == {"a.png", "b.png"}


def test_they_are_written_again_in_the_data_sets_own_ids(made, given, tmp_path):
    made(**given)
    content = published(tmp_path / "seeds/cues.pickle")
    assert content == {
        "0_labels": [12],
        "0_cues": [[0, 12, 12], [0, 1, 1], [0, 0, 1]],
        "1_labels": [8, 12],
        "1_cues": [[0, 0, 8, 12], [0, 0, 1, 1], [0, 1, 0, 1]],
    }
    again = made(cue_pickle=tmp_path / "seeds/cues.pickle")  # numbered as the train list
    assert all((again[name] == cue).all() for name, cue in zip("ab", expected(), strict=True))
    assert published(tmp_path / "seeds/cues.pickle") == content


def test_their_figures_are_printed(made, given, capsys):
    made(**given)
    text = capsys.readouterr().out
    assert "2 images: 37.5% background, 50.0% foreground (2 to 2 cells)" in text
    assert "1: 1, 2: 1" in text


def maps_of(folder, cam):
    """Store this CAM for every tag of both images, and a saliency; returns the stage's inputs."""
    saliency = [[0, 255], [255, 255]]
    for name, values in {"cams": ([cam], [cam, cam]), "saliency": (saliency, saliency)}.items():
        with write_maps(folder / f"{name}.h5", levels=255) as maps:
            for image_id, array in zip("ab", values, strict=True):
                maps.put(image_id, np.uint8(array))
    return {name: [folder / f"{name}.h5"] for name in ("cams", "saliency")}


def test_made_cues_are_written_in_the_data_sets_own_ids_too(made, tmp_path):
    found = made(**maps_of(tmp_path, [[0, 0], [0, 255]]))
    assert (found["a"] == dense({0: [(0, 0)], 1: [(1, 1)]}, classes=3)).all()
    content = published(tmp_path / "seeds/cues.pickle")
    assert content["0_labels"] == [12] and content["0_cues"] == [[0, 12], [0, 1], [0, 1]]


def test_stored_levels_are_compared_exactly(made, tmp_path):
    """51 is 0.2 of the maximum, and so no cue; 52 is one."""
    found = made(**maps_of(tmp_path, [[0, 51], [52, 255]]))
    assert (found["a"] == dense({0: [(0, 0)], 1: [(1, 0), (1, 1)]}, classes=3)).all()


def test_what_does_not_fit_is_named_and_nothing_is_written(made, given, tmp_path):
    with pytest.raises(UserError, match=r"2_cues in .*given\.pickle|0_cues in .*given\.pickle"):
        made(grid=1, **given)
    with pytest.raises(UserError, match=r"given\.pickle has cues of cat for a, .* no such tag"):
        made(cue_pickle=given["cue_pickle"])
    given["cue_list"].write_text("a.jpg 2\n")
    with pytest.raises(UserError, match=r"train image b is not in .*list\.txt"):
        made(**given)
    given["cue_list"].write_text("a.jpg 2\nb.jpg 5\n")
    with pytest.raises(UserError, match=r"image b, number 5, is not in .*given\.pickle"):
        made(**given)
    assert not (tmp_path / "seeds").exists()
