"""Rounds of segmentation training from files: targets, cues and the preview."""

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.data.images import read_image
from seedbed.data.index import Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.overlay import cue_preview, overlay
from seedbed.formats.tables import write_tsv
from seedbed.models import build
from seedbed.models.weights import save_network
from seedbed.runtime.errors import UserError
from seedbed.training import previews
from seedbed.training.network import train_network
from seedbed.training.previews import GAP
from seedbed.training.sampler import Request
from stages.settings import RoundSettings
from stages.train_round import make_objective, make_preview, train_round
from tests.support.training_helpers import CROPPED, SHORT

torch.set_num_threads(1)


def test_a_round_begins_with_the_weights_of_the_round_before(project):
    torch.manual_seed(9)
    before = build("tiny_seg", 3)
    save_network(
        project.folder / "before.pt", before, "tiny_seg", 3, {}, ["background", "cat", "dog"]
    )
    still = {**CROPPED, "optimizer": {"kind": "sgd"}, "learning_rate": 1e-12}
    settings = RoundSettings(supervise="pseudo_labels", weights="previous", **still)
    after, rows = project(
        train_round,
        settings,
        targets=project.folder / "targets.h5",
        initial=project.folder / "before.pt",
    )
    for one, other in zip(before.parameters(), after.parameters(), strict=True):
        torch.testing.assert_close(other, one, atol=1e-6, rtol=0)
    assert float(rows[-1]["rate"]) == pytest.approx(1e-13)


GROWN = {"supervise": "seeds", "method": "dsrg", "loss_stride": 8}
MASKED = {"supervise": "ground_truth", "loss_stride": 8}


@pytest.mark.parametrize(
    ("options", "view", "source"),
    [(MASKED, "crop", "targets"), (MASKED, "warp", "targets"), (GROWN, "warp", "cues")],
)
def test_a_round_is_the_same_with_a_preview(project, monkeypatch, options, view, source):
    monkeypatch.setattr(previews, "PAUSE_SECONDS", -1)
    monkeypatch.setattr(previews, "COST", 1e9)
    monkeypatch.setattr("stages.train_round.PREVIEWED", 2)
    drawn = []
    write = previews.Preview.write
    monkeypatch.setattr(
        previews.Preview,
        "write",
        lambda self, model: (write(self, model), drawn.append(self.path.read_bytes())),
    )
    settings = RoundSettings(**options, **SHORT, view={"kind": view, "hue": 0.1})
    inputs = {source: project.folder / f"{source}.h5"}
    _, rows = project(train_round, settings, **inputs)
    weights = (project.folder / "train_round.pt").read_bytes()
    assert not drawn
    for _ in range(2):
        path = project.folder / "preview.png"
        _, same_rows = project(train_round, settings, **inputs, preview=path)
        assert (project.folder / "train_round.pt").read_bytes() == weights and same_rows == rows
    assert len(drawn) == 8 and drawn[:4] == drawn[4:]
    assert drawn[3] == path.read_bytes()
    with Image.open(path) as picture:
        assert picture.size == (2 * (40 + GAP) + GAP, 3 * (40 + GAP) + GAP)
        first = np.asarray(picture)[GAP : GAP + 40, GAP + 2 : GAP + 38]
    assert np.array_equal(first, read_image(project.folder / "a.png"))


def test_a_preview_shows_what_supervises(project, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "stages.train_round.Preview", lambda *parts, **options: shown.append((parts, options))
    )
    entries = Index.load(project.folder / "index.json").split("train")
    cut = RoundSettings(**MASKED, **CROPPED)
    warped = RoundSettings(**GROWN, **SHORT)
    for name, settings in (("targets", cut), ("cues", warped)):
        maps = Maps(project.folder / f"{name}.h5")
        make_preview(project.folder / "p.png", entries, maps, project.folder, settings)
    (masks, cues), sizes = zip(*shown, strict=True)
    assert [size["size"] for size in sizes] == [None, 33]
    for (path, photos, targets), name, paint in (
        (masks, "targets", overlay),
        (cues, "cues", cue_preview),
    ):
        assert path == project.folder / "p.png" and len(photos) == 3
        for entry, photo, target in zip(entries, photos, targets, strict=True):
            assert np.array_equal(photo, read_image(project.folder / entry.path))
            wanted = paint(photo, Maps(project.folder / f"{name}.h5")[entry.id])
            assert np.array_equal(target, wanted)


@pytest.mark.parametrize("sampling", ["half_pixel", "corner_aligned", "tf_legacy"])
def test_a_round_trains_on_any_grid_of_labels(project, monkeypatch, sampling):
    handed_on = []

    def record(model, objective, samples, *arguments, **options):
        handed_on.append((objective.resampling, samples[Request(0, 0, 0)].targets.shape))
        assert samples.supervision.sampling == sampling
        train_network(model, objective, samples, *arguments, **options)

    monkeypatch.setattr("stages.train_round.train_network", record)
    settings = RoundSettings(
        supervise="ground_truth", loss_stride=8, label_sampling=sampling, **CROPPED
    )
    _, rows = project(train_round, settings, targets=project.folder / "targets.h5")
    assert 0 < float(rows[-1]["loss"]) < 5
    cells = 4 if sampling == "half_pixel" else 5
    assert handed_on == [(sampling, (cells, cells))]


def test_seeds_are_trained_on_as_the_port_does(project):
    growing = {
        "grow_on": "softmax",
        "train_unary": "logprob",
        "foreground_threshold": 0.5,
        "background_threshold": 0.7,
        "prefill_seeds": False,
        "crf_image": "tf_legacy",
        "crf_gradient": "none",
        "constraint_clip": None,
    }
    warped = {**SHORT, "view": {"resampling": "tf_legacy"}}
    settings = RoundSettings(supervise="seeds", method="dsrg", dsrg=growing, **warped)
    _, rows = project(train_round, settings, cues=project.folder / "cues.h5")
    assert float(rows[-1]["constraint_loss"]) > 0


def test_a_round_is_trained_on_the_images_that_are_kept(project, monkeypatch):
    """The others have a target too: a later round may select them."""
    trained_on = []

    def record(model, objective, samples, *_, log, save, **__):
        trained_on.append([entry.id for entry in samples.entries])
        write_tsv(log, [])
        save(model)

    monkeypatch.setattr("stages.train_round.train_network", record)
    settings = RoundSettings(**MASKED, **CROPPED)
    path = project.folder / "selected.h5"
    for kept in ("ac", "b", "abc"):
        with write_maps(path) as maps:
            for name in "abc":
                maps.put(name, np.zeros((40, 36), np.uint8), kept=name in kept)
        project(train_round, settings, targets=path)
    project(train_round, settings, targets=project.folder / "targets.h5")  # which does not say
    assert trained_on == [["a", "c"], ["b"], ["a", "b", "c"], ["a", "b", "c"]]
    with write_maps(path) as maps:
        for name in "abc":
            maps.put(name, np.zeros((40, 36), np.uint8), kept=False)
    with pytest.raises(UserError, match=r"no train image has a target: lower .*threshold"):
        project(train_round, settings, targets=path)


@pytest.mark.parametrize(
    ("dsrg", "classes", "noted"),
    [
        ({}, 3, True),
        ({}, 21, False),
        ({"train_unary": "logprob"}, 3, False),
        ({"grow_on": "softmax"}, 3, False),
    ],
)
def test_flooding_is_noted_where_seeds_grow_on_the_crf_of_p(capsys, dsrg, classes, noted):
    settings = RoundSettings(**GROWN, **SHORT, dsrg={**dsrg, "constraint_weight": 0.7})
    objective = make_objective(settings, classes)
    assert ("seeds flood the images" in capsys.readouterr().err) == noted
    assert objective.constraint_weight == 0.7
    assert objective.grow_on == settings.dsrg.grow_on
