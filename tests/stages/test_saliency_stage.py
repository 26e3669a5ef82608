"""Saliency maps read from a folder, and computed by a network."""

import numpy as np
import pytest
from PIL import Image

import stages.saliency
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


def test_maps_are_computed_from_as_many_superpixels_as_the_settings_say(photos, monkeypatch):
    asked = []

    def record(image, *, superpixels):
        asked.append((image.shape, superpixels))
        return np.full(image.shape[:2], 0.6, np.float32)

    monkeypatch.setattr(stages.saliency, "compute_saliency", record)
    saliency(
        index=photos / "index.json",
        shard="1-of-1",
        output=photos / "out.h5",
        settings=SaliencySettings(superpixels=77),
        data=photos,
        workers=1,
    )
    assert asked == [((9 + number, 12, 3), 77) for number in range(3)]
    maps = Maps([photos / "out.h5"])
    assert all((found == 153).all() for found in maps.values()) and len(maps) == 3


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


@pytest.fixture
def read_folder(photos, tmp_path):
    """Reads levels (a number or an array an image) as a folder of maps, in three shards."""

    def read(*levels, shards=(1, 2, 3)):
        (tmp_path / "maps").mkdir(exist_ok=True)
        for number, values in enumerate(levels):
            values = np.asarray(values)
            size = (9 + number, 12)
            picture = Image.fromarray(np.broadcast_to(values, size).astype(values.dtype))
            picture.save(tmp_path / f"maps/{number}.png")
        return [
            saliency(
                index=photos / "index.json",
                shard=f"{shard}-of-3",
                output=tmp_path / f"{shard}.h5",
                settings=SaliencySettings(maps="maps"),
                data=photos,
                workers=1,
            )
            for shard in shards
        ]

    return read


@pytest.mark.parametrize(
    "levels",
    [
        np.uint8([0, 1, 1]),
        np.uint8([0, 0, 0]),
        np.uint16([0, 255, 3]),
    ],
)
@pytest.mark.parametrize("shard", [1, 3])
def test_maps_of_which_none_is_bright_are_refused(read_folder, tmp_path, levels, shard):
    with pytest.raises(UserError, match=r"maps: no map has a level above 1 of 255, so nothing"):
        read_folder(*levels, shards=[shard])
    assert not (tmp_path / f"{shard}.h5").exists()


@pytest.mark.parametrize("bright", [np.uint8(2), np.uint16(400), np.uint8(255)])
def test_single_maps_may_be_empty(read_folder, tmp_path, bright):
    read_folder(np.uint8(0), np.uint16(255), bright)
    maps = Maps([tmp_path / f"{shard}.h5" for shard in (1, 2, 3)])
    highest = {"0": 0, "1": 1, "2": 255 if bright == 255 else 2}
    assert {name: int(maps[name].max()) for name in highest} == highest


def test_other_shards_maps_are_read_only_as_far_as_needed(read_folder, photos, monkeypatch):
    read = []
    real = stages.saliency.read_grey
    monkeypatch.setattr(stages.saliency, "read_grey", lambda path: read.append(path) or real(path))
    read_folder(*np.uint8([9, 0, 9]), shards=[1])
    assert [path.name for path in read] == ["0.png"]
    read.clear()
    read_folder(*np.uint8([9, 0, 9]), shards=[2])
    assert [path.name for path in read] == ["1.png", "0.png"]
