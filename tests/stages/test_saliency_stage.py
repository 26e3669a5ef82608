"""Saliency maps read from a folder, and computed by a network."""

import numpy as np
import pytest
from PIL import Image

from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps
from seedbed.inference.learned_saliency import LearnedSaliency
from seedbed.runtime.errors import UserError
from stages.saliency import read_map, saliency
from stages.settings import SaliencySettings
from tests.support.saliency_model import saliency_model

ENTRY = ImageEntry("a", "a.jpg", 1, 3, (1,), "train", False, "")


def test_maps_are_read_unchanged(tmp_path):
    Image.fromarray(np.uint8([[0, 77, 255]])).save(tmp_path / "a.png")
    saliency_map = read_map(ENTRY, folder=tmp_path)
    assert saliency_map.dtype == np.uint8 and saliency_map.tolist() == [[0, 77, 255]]


def test_missing_maps_and_maps_of_another_size_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"a\.png"):
        read_map(ENTRY, folder=tmp_path)
    Image.fromarray(np.uint8([[0], [1], [2]])).save(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a\.png: size \(3, 1\) is not the image's \(1, 3\)"):
        read_map(ENTRY, folder=tmp_path)


@pytest.fixture
def photos(tmp_path):
    """An index of three photos, in the folder of the data."""
    entries = []
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (9 + number, 12, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        shape = (9 + number, 12)
        entries.append(ImageEntry(str(number), f"{number}.png", *shape, (1,), "train", False, ""))
    Index((ClassInfo("cat", 8),), tuple(entries), "annotations").save(tmp_path / "index.json")
    return tmp_path


@pytest.mark.parametrize("workers", [1, 2])
def test_maps_of_a_network_do_not_depend_on_the_workers(photos, workers):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = saliency_model(photos / "a.onnx", (0.5, -0.5, 0.3))
    saliency(
        index=photos / "index.json",
        shard="1-of-1",
        output=photos / "out.h5",
        settings=SaliencySettings(model="a.onnx"),
        data=photos,
        workers=workers,
    )
    maps, network = Maps([photos / "out.h5"]), LearnedSaliency(model)
    for number in range(3):
        expected = network(np.asarray(Image.open(photos / f"{number}.png")))
        assert maps[str(number)].dtype == np.uint8
        assert np.array_equal(maps[str(number)], np.rint(expected * 255))
        assert np.ptp(expected) > 0.1
