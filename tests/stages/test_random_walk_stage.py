"""The walk of whole images, with a network whose cells are colours."""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.methods.psa.pairs import inner_cells, pair_affinities
from seedbed.methods.psa.walk import (
    grid_to_pixels,
    has_inner_cells,
    pad_to_cells,
    pool_to_grid,
    walk_scores,
)
from seedbed.methods.psa.walk import random_walk as walk
from stages import random_walk as stage
from stages.command import run_stage

torch.set_num_threads(1)

SIZES = {"a": (16, 24), "b": (13, 21), "c": (88, 100)}
LABELS = {"a": (1,), "b": (1, 2), "c": (2,)}


class Colours:
    """Compares the mean colours of cells, after a preprocessing that makes black no zero."""

    def __init__(self):
        self.saw = []

    def preprocess(self, images):
        return images.float() / 51 + 1

    def affinities(self, images, *, border_sources):
        self.saw.append(images)
        pairs = pair_affinities(pool_to_grid(images))
        if border_sources:
            return pairs
        kept = torch.zeros_like(pairs)
        inner_cells(kept).copy_(inner_cells(pairs))
        return kept


@pytest.fixture
def colours(monkeypatch):
    network = Colours()
    monkeypatch.setattr(stage, "load_network_cached", lambda weights, device, kind: network)
    return network


def cells(rng, channels, size):
    """Random levels (channels, *size), the same in 5 x 5 pixels."""
    levels = rng.integers(0, 256, (channels, 20, 20)).astype(np.uint8)
    return levels.repeat(5, 1).repeat(5, 2)[:, : size[0], : size[1]]


@pytest.fixture
def walked(tmp_path, colours):
    """Run the stage as the command line does on random images and maps."""
    rng = np.random.default_rng(0)
    entries = []
    with write_maps(tmp_path / "cams.h5", levels=255) as maps:
        for name, size in SIZES.items():
            pixels = cells(rng, 3, size).transpose(1, 2, 0)
            Image.fromarray(pixels).save(tmp_path / f"{name}.png")
            entries.append(ImageEntry(name, f"{name}.png", *size, LABELS[name], "train", True, ""))
            maps.put(name, cells(rng, len(LABELS[name]), size), classes=list(LABELS[name]))
    val = ImageEntry("v", "v.png", 8, 8, (1,), "val", True, "")
    Index((ClassInfo("cat", 8), ClassInfo("dog", 12)), (*entries, val), "").save(
        tmp_path / "i.json"
    )

    def run(shard="1-of-1", workers=1, **settings):
        files = {"index": "i.json", "cams": "cams.h5", "weights": "none.pt", "output": "walk.h5"}
        options = [x for key, name in files.items() for x in (f"--{key}", str(tmp_path / name))]
        options += ["--shard", shard, "--data", str(tmp_path), "--device", "cpu"]
        options += ["--workers", str(workers), "--params", json.dumps(settings)]
        run_stage(stage.random_walk, options)
        with Maps(tmp_path / "walk.h5") as maps:
            return {name: (maps[name], maps.attributes(name)) for name in maps}

    return run


def literal(tmp_path, name, *, alpha=16.0, beta=8.0, steps=256, border_sources=False):
    """Scores of sum 1 in float32, step by step."""
    height, width = SIZES[name]
    image = np.array(Image.open(tmp_path / f"{name}.png")).transpose(2, 0, 1)
    padded = torch.zeros(1, 3, math.ceil(height / 8) * 8, math.ceil(width / 8) * 8)
    padded[0, :, :height, :width] = torch.from_numpy(image / np.float32(51) + 1)
    affinities = Colours().affinities(padded, border_sources=border_sources)[0]
    start = walk_scores(torch.from_numpy(Maps(tmp_path / "cams.h5").floats(name)), alpha)
    found = grid_to_pixels(walk(affinities, start, beta=beta, steps=steps), (height, width))
    return (found / found.sum(0)).numpy()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"border_sources": True},
        {"alpha": 2.0, "beta": 3.0, "steps": 5, "border_sources": True},
    ],
)
def test_scores_are_the_literal_ones(walked, tmp_path, settings):
    for name, (scores, about) in walked(**settings).items():
        expected = literal(tmp_path, name, **settings)
        assert scores.dtype == np.float16
        assert scores.shape == (1 + len(LABELS[name]), *SIZES[name])
        np.testing.assert_allclose(scores, expected, atol=6e-4)
        assert about["classes"].tolist() == [0, *LABELS[name]]
        assert json.loads(about["settings"])["steps"] == settings.get("steps", 256)


def test_every_setting_counts(walked):
    common = {"alpha": 8.0, "beta": 2.0, "steps": 3, "border_sources": True}
    usual = walked(**common)["c"][0]
    for other in ({"alpha": 4.0}, {"beta": 1.0}, {"steps": 4}, {"border_sources": False}):
        assert abs(usual - walked(**{**common, **other})["c"][0]).max() > 0.01, other


def test_the_strongest_class_survives_half_precision(walked, tmp_path):
    for name, (scores, _) in walked(steps=4, border_sources=True).items():
        expected = literal(tmp_path, name, steps=4, border_sources=True)
        second, first = np.sort(expected, 0)[-2:]
        clear = first > second * 1.001
        assert clear.mean() > 0.9
        assert (scores.argmax(0) == expected.argmax(0))[clear].all()


def test_images_are_padded_with_zeros_after_normalisation(walked, colours):
    walked(shard="2-of-3")
    (image,) = colours.saw
    assert image.shape == (1, 3, 16, 24)
    assert (image[..., :13, :21] >= 1).all()
    assert not image[..., 13:, :].any() and not image[..., 21:].any()


def test_neither_shards_nor_workers_change_a_byte(walked):
    whole, shared = walked(steps=9), walked(steps=9, workers=2)
    assert list(whole) == list(shared) == ["a", "b", "c"]
    parts = {}
    for shard in ("1-of-2", "2-of-2"):
        parts |= walked(shard=shard, steps=9)
    assert all((whole[name][0] == shared[name][0]).all() for name in whole)
    assert all((whole[name][0] == parts[name][0]).all() for name in whole)


def test_workers_read_for_the_device(walked, monkeypatch):
    asked = []

    def recorded(read, compute, items, device, workers):
        asked.append((device, workers))
        sources = [read(item) for item in items]
        assert all(isinstance(array, np.ndarray) for source in sources for array in source)
        return map(compute, items, sources)

    monkeypatch.setattr(stage, "device_map", recorded)
    found = walked(steps=9, workers=3)
    assert asked == [(torch.device("cpu"), 3)]
    monkeypatch.undo()
    assert found.keys() == SIZES.keys()


def test_images_that_the_walk_leaves_as_they_are_are_counted(walked, tmp_path, capsys):
    """Of a and b, 2 by 3 cells, no cell has all partners inside; of c, 11 by 13, some have."""
    scores = walked()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("2 of 3 images are too small for the random walk, as a: ")
    assert "random_walk.border_sources: true" in line
    for name, (found, _) in scores.items():
        unmoved = np.abs(found - literal(tmp_path, name, steps=1, beta=1e9)).max() < 1e-3
        assert unmoved == (name != "c")
    walked(border_sources=True)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("size", "linked"), [((32, 65), False), ((33, 64), False), ((33, 65), True)]
)
def test_the_smallest_images_that_are_linked(size, linked):
    affinities = Colours().affinities(torch.ones(1, 3, *size), border_sources=False)
    assert bool(affinities.any()) == linked
    assert has_inner_cells(size) == linked


def test_whole_cells_are_not_padded():
    maps = torch.rand(2, 16, 24)
    assert torch.equal(pad_to_cells(maps), maps)
    padded = pad_to_cells(maps[:, 1:, :17])
    assert padded.shape == (2, 16, 24) and torch.equal(padded[:, :15, :17], maps[:, 1:, :17])
    assert padded.sum() == pytest.approx(maps[:, 1:, :17].sum())


def test_cells_are_brought_to_pixels_between_their_centres():
    # Centres of the cells lie between the pixels 3 and 4, 11 and 12; beyond them nothing changes.
    row = grid_to_pixels(torch.tensor([[[0.0, 1.0]]]), (3, 15))
    ramp = [0.0] * 4 + [(2 * k + 1) / 16 for k in range(8)] + [1.0] * 3
    torch.testing.assert_close(row, torch.tensor(ramp).expand(1, 3, 15))
