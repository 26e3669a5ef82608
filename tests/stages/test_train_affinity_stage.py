"""AffinityNet's training from files, with a network of four numbers, and once with VGG-16."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.tables import read_tsv
from seedbed.models import builders
from seedbed.models.heads.affinity import AffinityNetwork
from seedbed.models.network import Backbone
from seedbed.models.registry import NETWORKS, NetworkInfo
from seedbed.models.weights import load_network
from seedbed.training import loop
from stages import train_affinity as stage
from stages.affinity_scores import affinity_scores
from stages.command import run_stage
from stages.pseudo_labels import pseudo_labels
from stages.random_walk import random_walk
from stages.train_affinity import train_affinity

torch.set_num_threads(1)

SIZE = 80  # ten cells a side; the cells of the two middle columns have all their partners
FIGURES = ["loss", "background_loss", "foreground_loss", "negative_loss"]
SHARES = ["background_pairs", "foreground_pairs", "negative_pairs"]


def cells_network(num_classes):
    """AffinityNet on the mean colours of cells."""
    layers = nn.Sequential(nn.AvgPool2d(8), nn.Conv2d(3, 3, 1))
    cells = Backbone(layers, 3, 8, low_layers=0, low_channels=3)
    return AffinityNetwork(
        cells, lambda features, images: (features(images),) * 3, channels=(3, 3, 3)
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two images, a bright object on the left half of each; maps and scores that say so."""
    monkeypatch.setitem(builders.BUILDERS, "cells_affinity", cells_network)
    info = NetworkInfo("cells", "affinity", min_crop=72, crop_multiple=8)
    monkeypatch.setitem(NETWORKS, "cells_affinity", info)
    entries = [ImageEntry(n, f"{n}.png", SIZE, SIZE, (1,), "train", True, "") for n in "ab"]
    Index((ClassInfo("cat", 8),), tuple(entries), "annotations").save(tmp_path / "index.json")
    rng = np.random.default_rng(0)
    with write_maps(tmp_path / "cams.h5", levels=255) as cams:
        for entry in entries:
            pixels = rng.integers(0, 40, (SIZE, SIZE, 3))
            pixels[:, : SIZE // 2] += 200
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / entry.path)
            cam = np.zeros((1, SIZE, SIZE), np.uint8)
            cam[:, :64, : SIZE // 2] = 102  # all of the object but its foot
            cams.put(entry.id, cam, classes=[1])
    for number, name in enumerate("ab", 1):
        with write_maps(tmp_path / f"scores{number}.h5", levels=255) as scores:
            left = np.zeros((SIZE, SIZE), np.uint8)
            left[:, : SIZE // 2] = 255
            scores.put(name, np.stack([[255 - left, left]] * 2), classes=[0, 1])
    return tmp_path


def run(project, function, settings, **files):
    """A stage as the command line calls it, with the paths given by option."""
    options = ["--index", str(project / "index.json"), "--params", json.dumps(settings)]
    for name, names in files.items():
        names = names if isinstance(names, list) else [names]
        options += [f"--{name}", *(str(project / each) for each in names)]
    if function in (train_affinity, random_walk):
        options += ["--device", "cpu"]
    if function is train_affinity:
        options += ["--threads", "1", "--deterministic", "0"]
    if function in (affinity_scores, random_walk):
        options += ["--shard", "1-of-1"]
    run_stage(function, [*options, "--data", str(project)])


# Without the jitter and SGD of PSA, which learn nothing in a few iterations.
SHORT = {
    "network": "cells_affinity",
    "crop": SIZE,
    "iterations": 5,
    "batch": 2,
    "learning_rate": 5e-3,
    "multipliers": [1, 1, 1, 1],
    "view": {"jitter": 0, "hue": 0},
    "optimizer": {"kind": "adamw"},
    "schedule": {"kind": "constant"},
}


def train(folder, name="w", scores=("scores1.h5", "scores2.h5"), **settings):
    chosen = {**SHORT, **settings}
    files = {"scores": list(scores), "weights": f"{name}.pt", "log": f"{name}.tsv"}
    run(folder, train_affinity, chosen, **files)
    return read_tsv(folder / f"{name}.tsv")


def test_it_learns_to_part_the_halves(folder):
    rows = train(folder, iterations=60, learning_rate=0.03)
    assert list(rows[0]) == ["step", "rate", *FIGURES, *SHARES]
    first, last = ({k: float(row[k]) for k in (*FIGURES, *SHARES)} for row in (rows[0], rows[-1]))
    assert last["loss"] < first["loss"] / 2
    assert last["loss"] == pytest.approx(sum(last[name] for name in FIGURES[1:]), rel=1e-3)
    assert sum(last[name] for name in SHARES) == pytest.approx(1)
    assert all(last[name] > 0 for name in SHARES)


def test_the_network_is_built_again_from_its_file(folder, monkeypatch):
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1)
    train(folder, iterations=2)
    model, about = load_network(folder / "w.pt")
    assert about["name"] == "cells_affinity" and about["classes"] == ["background", "cat"]
    assert model.affinities(torch.zeros(1, 3, 72, 88)).shape == (1, 34, 9, 11)
    torch.manual_seed(0)
    assert not torch.equal(model.head.f9.weight, cells_network(1).head.f9.weight)
    assert not list(folder.glob("*checkpoint*")) and not list(folder.glob("*.lock"))


def test_the_same_settings_give_the_same_bytes(folder):
    train(folder, "one")
    train(folder, "other")
    assert (folder / "one.pt").read_bytes() == (folder / "other.pt").read_bytes()
    train(folder, "third", seed=1)
    assert (folder / "one.pt").read_bytes() != (folder / "third.pt").read_bytes()


def test_training_begins_with_the_initial_weights(folder):
    train(folder)
    still = {**SHORT, "iterations": 1, "learning_rate": 1e-12}
    files = {"scores": ["scores1.h5", "scores2.h5"], "weights": "v.pt", "log": "v.tsv"}
    run(folder, train_affinity, {**still, "seed": 9}, initial="w.pt", **files)
    one, other = (load_network(folder / f"{name}.pt")[0] for name in "wv")
    torch.testing.assert_close(one.head.f9.weight, other.head.f9.weight)


def test_a_checkpoint_belongs_to_settings_and_inputs(folder, monkeypatch):
    digests = []
    monkeypatch.setattr(
        stage, "train_network", lambda *_, checkpoint, **__: digests.append(checkpoint.digest)
    )
    settings = SHORT
    files = {"scores": ["scores1.h5", "scores2.h5"], "weights": "w.pt", "log": "w.tsv"}
    for changed in ({}, {}, {"seed": 1}):
        run(folder, train_affinity, {**settings, **changed}, **files)
    (folder / "scores2.h5").write_bytes((folder / "scores1.h5").read_bytes())
    run(folder, train_affinity, settings, **files)
    spec = stage.NetworkSpec(
        name="cells_affinity", options={}, classes=["background", "cat"], precision="float32"
    )
    spec.save(folder / "i.pt", cells_network(1))
    run(folder, train_affinity, settings, initial="i.pt", **files)
    assert digests[0] == digests[1] and len(set(digests)) == 4


@pytest.mark.parametrize("crop", [64, 76, 452])
def test_a_crop_that_holds_no_whole_cells_is_refused(folder, crop):
    with pytest.raises(SystemExit) as end:
        train(folder, crop=crop)
    assert "--params: crop: " in end.value.code and "\n" not in end.value.code
    assert not (folder / "w.pt").exists()


def test_the_smallest_crop_is_taken(folder):
    rows = train(folder, crop=72, iterations=1)
    assert sum(float(rows[0][name]) for name in SHARES) > 0


def test_missing_scores_are_named(folder):
    with pytest.raises(SystemExit) as end:
        train(folder, scores=["scores1.h5"])
    assert "b is not in" in end.value.code and "scores1.h5" in end.value.code


def chain(folder, **settings):
    """From class activation maps to pseudo labels; returns these of both images."""
    run(folder, affinity_scores, {"crf": {"iterations": 2}}, cams="cams.h5", output="made.h5")
    train(folder, scores=["made.h5"], **settings)
    walk = {"beta": 4, "steps": 64, "border_sources": True}
    run(folder, random_walk, walk, cams="cams.h5", weights="w.pt", output="walk.h5")
    files = {"attention": "walk.h5", "output": "p.h5", "folder": "p", "summary": "p.tsv"}
    run(folder, pseudo_labels, {"attention": "random_walk", "rule": "argmax"}, **files)
    return [Maps(folder / "p.h5")[name] for name in "ab"]


def test_the_chain_finds_the_whole_object(folder):
    truth = np.zeros((SIZE, SIZE), int)
    truth[:, : SIZE // 2] = 1
    for mask in chain(folder, iterations=60, learning_rate=0.03):
        assert (mask == truth).mean() > 0.95


def test_the_chain_runs_with_vgg16(folder):
    masks = chain(folder, network="vgg16_affinity", iterations=2, batch=1)
    assert [mask.shape for mask in masks] == [(SIZE, SIZE)] * 2
    assert load_network(folder / "w.pt")[1]["name"] == "vgg16_affinity"
