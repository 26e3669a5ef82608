"""Scores for AffinityNet, from class activation maps of a few pixels and from PSA's files."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.crf import dense_crf, resolve_backend
from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.psa import write_cam, write_scores
from stages.affinity_scores import affinity_scores
from stages.command import run_stage

torch.set_num_threads(1)

STILL = {"iterations": 0}  # a CRF that leaves the scores alone but makes them sum to 1
IMAGES = {"a": (2,), "b": (1, 2), "c": (1,)}
PIXELS = np.uint8([[[0, 0, 0], [250, 250, 250], [250, 250, 250]]])
CAMS = {
    "a": [[[51, 255, 0]]],
    "b": [[[0, 102, 255]], [[255, 102, 0]]],
    "c": [[[255, 255, 255]]],
}


@pytest.fixture
def scored(tmp_path):
    """Run the stage as the command line does; shards of the class activation maps: a c, b."""
    entries = [ImageEntry(n, f"{n}.png", 1, 3, c, "train", True, "") for n, c in IMAGES.items()]
    val = ImageEntry("v", "v.png", 1, 3, (1,), "val", True, "")
    classes = (ClassInfo("cat", 8), ClassInfo("dog", 12))
    Index(classes, (*entries, val), "annotations").save(tmp_path / "index.json")
    for name in IMAGES:
        Image.fromarray(PIXELS).save(tmp_path / f"{name}.png")
    for number, names in enumerate(("ac", "b"), 1):
        with write_maps(tmp_path / f"cam{number}.h5", levels=255) as maps:
            for name in names:
                maps.put(name, np.uint8(CAMS[name]), classes=list(IMAGES[name]))

    def run(shard="1-of-1", cams=("cam1.h5", "cam2.h5"), **settings):
        files = {"index": "index.json", "output": "scores.h5"}
        options = [x for key, name in files.items() for x in (f"--{key}", str(tmp_path / name))]
        if cams:
            options += ["--cams", *(str(tmp_path / name) for name in cams)]
        options += ["--shard", shard, "--data", str(tmp_path), "--params", json.dumps(settings)]
        run_stage(affinity_scores, options)
        return Maps([tmp_path / "scores.h5"])

    return run


def refusal(scored, capsys, **options):
    """The one line that the stage ends with; nothing is written."""
    with pytest.raises(SystemExit) as end:
        scored(**options)
    assert "\n" not in end.value.code
    return end.value.code


def test_background_of_both_alphas_by_hand(scored):
    """a: 0.2, 1 and 0 leave 0.8, 0 and 1 to background, of sum 1; squared 0.64, 0 and 1."""
    found = scored(low_alpha=1, high_alpha=2, crf=STILL)
    assert found["a"].dtype == np.uint8
    squared = round(255 * 0.64 / 0.84)
    assert found["a"].tolist() == [
        [[[204, 0, 255]], [[51, 255, 0]]],
        [[[squared, 0, 255]], [[255 - squared, 255, 0]]],
    ]


def test_every_class_of_the_image_has_a_channel(scored):
    found = scored(low_alpha=1, high_alpha=1, crf=STILL)
    thirds = [round(255 * share) for share in (0.6 / 1.4, 0.4 / 1.4, 0.4 / 1.4)]
    low = found["b"][0]
    assert low[:, 0].T.tolist() == [[0, 0, 255], thirds, [0, 255, 0]]
    assert list(found) == ["a", "b", "c"]
    classes = {name: found.attributes(name)["classes"].tolist() for name in found}
    assert classes == {"a": [0, 2], "b": [0, 1, 2], "c": [0, 1]}
    assert found.file_attributes()["levels"] == 255
    assert found.file_attributes()["crf_backend"] == resolve_backend("auto")


def test_the_crf_sees_the_image_and_its_settings(scored):
    crf = {"bilateral_sxy": 20, "bilateral_weight": 3, "iterations": 2}
    found = scored(low_alpha=1, high_alpha=4, crf=crf).floats("a")
    params = {"gaussian_weight": 3, "gaussian_sxy": 3, "bilateral_srgb": 13, **crf}
    for scores, alpha in zip(found, (1, 4), strict=True):
        cam = np.float32([[[0.2, 1, 0]]])
        unary = -np.log(np.concatenate([(1 - cam) ** alpha, cam]).clip(1e-5, 1))
        np.testing.assert_allclose(scores, dense_crf(PIXELS, unary, params), atol=0.003)
    assert abs(found[0] - found[1]).max() > 0.01


def test_a_shard_needs_its_own_maps_alone(scored):
    found = scored("1-of-2", ["cam1.h5"], crf=STILL)
    assert list(found) == ["a", "c"]
    whole = scored(crf=STILL)
    assert all((whole[name] == found[name]).all() for name in found)


def test_maps_must_be_given(scored, capsys):
    assert "give --cams" in refusal(scored, capsys, cams=())


@pytest.fixture
def given(tmp_path):
    """PSA's files of all images, keys in VOC's ids, with a class that no image is tagged with."""
    for name, labels in IMAGES.items():
        for alpha, least in (("low", 0.1), ("high", 0.2)):
            (tmp_path / alpha).mkdir(exist_ok=True)
            ids = [0, 3, *({1: 8, 2: 12}[c] for c in labels)]
            maps = {i: np.float32([[least, i / 20, 1]]) for i in ids}
            write_scores(tmp_path / alpha / f"{name}.npy", maps)
    return {"low": "low", "high": "high"}


def test_psas_files_are_read_instead(scored, given):
    found = scored(cams=(), **given)
    assert found["b"].shape == (2, 3, 1, 3) and found["b"].dtype == np.uint8
    assert found["b"][:, :, 0, 0].tolist() == [[26] * 3, [51] * 3]  # 25.5 to the even
    assert found["b"][0, :, 0, 1:].tolist() == [[0, 255], [102, 255], [153, 255]]
    assert found["a"][1, :, 0, 1].tolist() == [0, 153]
    assert found.attributes("a")["classes"].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("keys", "values", "message"),
    [
        ((0, 8), [[0, 0.5, 1]], "has no scores of dog (key 12)"),
        ((0, 8, 12), [[0, 0.5]], "has scores of (1, 2), its image is (1, 3)"),
        ((0, 8, 12), [[0, 0.5, 1.1]], "not between 0 and 1"),
        ((0, 8, 12), [[0, 0.5, -0.1]], "not between 0 and 1"),
        ((0, 8, 12), [[0, 0.5, np.nan]], "not a finite number"),
        ((8, 12), [[0, 0.5, 1]], "holds no background"),
    ],
)
def test_files_that_do_not_fit_are_named(scored, given, tmp_path, capsys, keys, values, message):
    path = tmp_path / "high" / "b.npy"
    if 0 in keys:
        write_scores(path, {key: np.float32(values) for key in keys})
    else:
        write_cam(path, {key + 1: np.float32(values) for key in keys})
    line = refusal(scored, capsys, cams=(), **given)
    assert message in line and str(path) in line
    assert not (tmp_path / "scores.h5").exists()


def test_a_missing_file_is_named(scored, given, tmp_path, capsys):
    (tmp_path / "low" / "c.npy").unlink()
    assert f"{tmp_path / 'low' / 'c.npy'} is missing" in refusal(scored, capsys, cams=(), **given)
