"""The cam stage: maps of PSA's files, and of a network whose class maps are its images' colours."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.formats.maps import Maps
from seedbed.formats.psa import write_cam
from seedbed.inference.multiscale import MultiScale
from seedbed.models import build
from seedbed.models.weights import save_network
from seedbed.runtime.errors import UserError
from stages import cam as stage
from stages.settings import CamSettings

torch.set_num_threads(1)
CLASSES = (ClassInfo("dog", 12), ClassInfo("cat", 8))  # not in VOC's order
SIZE = (2, 3)
DOG, CAT = np.array([[0, 1, 4], [-1, 2, 0.0]]), np.full(SIZE, 0.5)
IMAGES = (
    ImageEntry("a", "a.png", *SIZE, (1, 2), "train", True, ""),
    ImageEntry("b", "b.png", *SIZE, (2,), "train", True, ""),
    ImageEntry("v", "v.png", *SIZE, (1,), "val", True, ""),
)


@pytest.fixture
def made(tmp_path):
    """Run the stage on the train images."""
    Index(CLASSES, IMAGES, "annotations").save(tmp_path / "index.json")

    def run(shard="1-of-1", weights=None, workers=1, **settings):
        stage.cam(
            index=tmp_path / "index.json",
            shard=shard,
            output=tmp_path / "cam.h5",
            settings=CamSettings(**settings),
            data=tmp_path,
            device="cpu",
            workers=workers,
            weights=weights,
        )
        return Maps(tmp_path / "cam.h5")

    return run


@pytest.fixture
def folder(tmp_path):
    """PSA's files, the second with a class that is no label."""
    (tmp_path / "psa").mkdir()
    write_cam(tmp_path / "psa/a.npy", {12: DOG, 8: CAT})
    write_cam(tmp_path / "psa/b.npy", {8: CAT, 15: DOG, 12: CAT * 0})
    return tmp_path / "psa"


def test_read_maps_are_those_of_the_labels_divided_by_their_maximum(made, folder):
    found = made(maps="psa", power=0.5, scales=[0.5])
    assert set(found) == {"a", "b"}
    assert found["a"].tolist() == [[[0, 64, 255], [0, 127, 0]], [[255] * 3] * 2]
    assert found["b"].tolist() == [[[255] * 3] * 2]
    about = found.attributes("a")
    assert about["levels"] == 255 and about["classes"].tolist() == [1, 2]
    assert list(made(maps="psa", shard="2-of-2")) == ["b"]


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({8: CAT}, r"a\.npy has no map of dog \(key 11\)"),
        ({8: CAT.T, 12: DOG.T}, r"a\.npy has maps of \(3, 2\), its image is \(2, 3\)"),
    ],
)
def test_files_that_do_not_fit_are_refused(made, folder, maps, message):
    write_cam(folder / "a.npy", maps)
    with pytest.raises(UserError, match=message):
        made(maps="psa")


def test_missing_files_and_weights_are_refused(made, folder, tmp_path):
    (folder / "b.npy").unlink()
    with pytest.raises(UserError, match=r"b\.npy is missing"):
        made(maps="psa")
    assert not (tmp_path / "cam.h5").exists()
    with pytest.raises(UserError, match="--weights"):
        made()


@pytest.mark.parametrize(
    ("resampling", "flip", "precision"),
    [("antialias", True, "float32"), ("half_pixel", False, "bfloat16")],
)
def test_options_of_the_multi_scale_inference(
    made, tmp_path, monkeypatch, resampling, flip, precision
):
    network = SimpleNamespace(
        preprocess=lambda images: images, maps=lambda images: images, min_side=1
    )
    monkeypatch.setattr(stage, "load_network_cached", lambda weights, device, kind: network)
    shown = []
    monkeypatch.setattr(
        stage,
        "multi_scale",
        lambda network, image, options, device: (
            shown.append(options)
            or [network(torch.from_numpy(image).permute(2, 0, 1)[None].float())[0]]
        ),
    )
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[0, 0], pixels[1, 2] = (200, 100, 0), (100, 0, 0)
    for entry in IMAGES:
        Image.fromarray(pixels).save(tmp_path / entry.path)
    shared = {"scales": [1.0, 2.0], "size": 9, "flip": flip, "precision": precision}
    found = made(weights=tmp_path / "w.pt", resampling=resampling, **shared)
    assert found["a"].tolist() == [[[255, 0, 0], [0, 0, 127]], [[255, 0, 0], [0, 0, 0]]]
    assert shown == [MultiScale(**shared, resampling=resampling)] * 2


def test_map_resampling_is_passed_on(made, tmp_path, monkeypatch):
    coarse = torch.tensor([[[4.0, 2.0, 0.0, 0.0]], [[0.0, 0.0, 2.0, 4.0]]])
    network = SimpleNamespace(min_side=1)
    monkeypatch.setattr(stage, "load_network_cached", lambda weights, device, kind: network)
    monkeypatch.setattr(stage, "multi_scale", lambda network, image, options, device: [coarse])
    for entry in IMAGES:
        Image.fromarray(np.zeros((*SIZE, 3), np.uint8)).save(tmp_path / entry.path)
    aligned = made(weights=tmp_path / "w.pt", map_resampling="corner_aligned")["a"]
    assert aligned.tolist() == [[[255, 64, 0]] * 2, [[0, 64, 255]] * 2]


def test_result_does_not_depend_on_shards_and_workers(made, tmp_path, monkeypatch):
    monkeypatch.setattr("seedbed.runtime.pools.available_cpus", lambda: 2)
    random = np.random.default_rng(0)
    for entry in IMAGES:
        Image.fromarray(random.integers(0, 256, (*SIZE, 3), np.uint8)).save(tmp_path / entry.path)
    torch.manual_seed(0)
    save_network(tmp_path / "w.pt", build("tiny_cls", 2), "tiny_cls", 2, {}, ["dog", "cat"])

    def found(**options):
        maps = made(weights=tmp_path / "w.pt", scales=[1.0, 4.0], **options)
        return {name: array.tolist() for name, array in maps.items()}

    whole = found(workers=1)
    assert list(whole) == ["a", "b"] and np.any(whole["a"])
    assert found(workers=2) == whole
    assert {**found(shard="1-of-2"), **found(shard="2-of-2")} == whole
