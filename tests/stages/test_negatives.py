"""Every stage on a train image without a class, which is known to show only background."""

import numpy as np
import pytest
import torch
from PIL import Image

from seedbed.crf import dense_crf, unary_from_probabilities
from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.formats.cue_pickle import read_cue_labels, read_cue_pickle
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.masks import read_mask
from seedbed.formats.psa import write_cam
from seedbed.formats.tables import read_tsv
from seedbed.methods.psa.labels import grid_labels
from seedbed.models import build
from seedbed.models.weights import save_network
from stages import random_walk as walk_stage
from stages.affinity_scores import affinity_scores
from stages.audit import audit
from stages.cam import cam
from stages.cam_curve import cam_curve
from stages.chain_options import ChainOptions
from stages.crf import refine
from stages.export import export
from stages.group_cam import group_cam
from stages.pseudo_labels import pseudo_labels
from stages.seeds import seeds
from stages.settings import (
    AffinityScoreSettings,
    AuditSettings,
    CamSettings,
    ClassifierSettings,
    CRFSettings,
    GroupCamSettings,
    GroupSettings,
    MaskCRFSettings,
    PseudoLabelSettings,
    RandomWalkSettings,
    RoundSettings,
    SeedSettings,
    TargetSettings,
)
from stages.targets import targets
from stages.train_classifier import train_classifier
from stages.train_group import train_group
from stages.train_round import train_round
from tests.support.predictions import put_probabilities
from tests.support.training_helpers import SHORT

torch.set_num_threads(1)
SIZE = HEIGHT, WIDTH = 40, 36
CAT = ImageEntry("cat", "cat.png", *SIZE, (1,), "train", True, "")
NONE = ImageEntry("none", "none.png", *SIZE, (), "train", True, "")
ENTRIES = (CAT, NONE)
CLASSES = (ClassInfo("cat", 8), ClassInfo("dog", 12))


class Run:
    """An index of two images, and the stages on them; artefacts lie in one folder."""

    def __init__(self, folder):
        self.folder = folder
        rng = np.random.default_rng(0)
        for entry in ENTRIES:
            pixels = rng.integers(0, 256, (*SIZE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / entry.path)
        self.index = folder / "index.json"
        Index(CLASSES, ENTRIES, "annotations").save(self.index)
        truth = {e.id: np.full(SIZE, e.id == "cat", np.uint8) for e in ENTRIES}
        self.truth = self.maps("truth", truth)
        # All of it salient, also the image without a class.
        self.saliency = self.maps("saliency", {e.id: np.full(SIZE, 255, np.uint8) for e in ENTRIES})

    def maps(self, name, arrays, **attributes):
        """Write maps by image id."""
        with write_maps(self.folder / f"{name}.h5", levels=255) as maps:
            for image_id, array in arrays.items():
                maps.put(image_id, array, **{k: v[image_id] for k, v in attributes.items()})
        return self.folder / f"{name}.h5"

    def common(self, *names):
        """Arguments of most stages; `names`: which beside index and data."""
        more = {"device": "cpu", "workers": 1, "shard": "1-of-1", "threads": 1, "deterministic": 1}
        return {"index": self.index, "data": self.folder, **{name: more[name] for name in names}}

    def cams(self):
        """The class activation maps of a file of PSA's."""
        (self.folder / "psa").mkdir()
        write_cam(self.folder / "psa/cat.npy", {8: np.eye(*SIZE)})
        output = self.folder / "cam.h5"
        common = self.common("device", "workers", "shard")
        cam(output=output, settings=CamSettings(maps="psa"), **common)
        return output

    def train(self, stage, settings, **inputs):
        """Run a training and return its log."""
        stage(
            weights=self.folder / f"{stage.__name__}.pt",
            log=self.folder / "log.tsv",
            settings=settings,
            **self.common("device", "threads", "deterministic"),
            **inputs,
        )
        rows = read_tsv(self.folder / "log.tsv")
        assert all(np.isfinite(float(row["loss"])) for row in rows)
        return rows


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_it_has_no_class_map(run):
    given = Maps(run.cams())
    network = build("tiny_cls", num_classes=2)
    save_network(run.folder / "net.pt", network, "tiny_cls", 2, {}, ["cat", "dog"])
    common = run.common("device", "workers", "shard")
    output, weights = run.folder / "computed.h5", run.folder / "net.pt"
    cam(output=output, settings=CamSettings(scales=[1]), weights=weights, **common)
    for maps in (given, Maps(output)):
        assert maps["cat"].shape == (1, *SIZE) and maps["none"].shape == (0, *SIZE)
        assert list(maps.attributes("none")["classes"]) == []


def test_its_cues_are_all_background(run):
    files = {name: run.folder / name for name in ("cues", "pickle", "preview")}
    maps = {"cams": [run.cams()], "saliency": [run.saliency]}
    seeds(**maps, settings=SeedSettings(grid=8), **files, **run.common())
    cues = Maps(files["cues"])["none"]
    assert cues[0].all() and not cues[1:].any()
    assert read_cue_labels(files["pickle"]) == {0: (8,), 1: ()}
    assert read_cue_pickle(files["pickle"], num_classes=21, grid=8)[0][1][0].all()


@pytest.mark.parametrize(
    "settings",
    [
        {"attention": "cam", "rule": "saliency_guided"},
        {"attention": "cam", "rule": "argmax", "crf": None},
        {"attention": "cam", "rule": "argmax"},
        {"masks": "given"},
    ],
)
def test_its_pseudo_label_is_all_background(run, settings):
    (run.folder / "given").mkdir()
    Image.fromarray(np.full(SIZE, 8, np.uint8)).save(run.folder / "given/cat.png")
    output, folder = run.folder / "pseudo.h5", run.folder / "pseudo"
    pseudo_labels(
        output=output,
        folder=folder,
        summary=run.folder / "pseudo.tsv",
        settings=PseudoLabelSettings(**settings),
        attention=[run.cams()],
        saliency=[run.saliency],
        **run.common("workers"),
    )
    assert not Maps(output)["none"].any() and not read_mask(folder / "none.png").any()
    assert read_tsv(run.folder / "pseudo.tsv")[1]["missing"] == ""


def test_its_affinity_labels_and_its_walk_are_background(run):
    cams, scores = run.cams(), run.folder / "scores.h5"
    settings = AffinityScoreSettings(crf={"iterations": 0})
    affinity_scores(cams=[cams], output=scores, settings=settings, **run.common("workers", "shard"))
    assert Maps(scores)["none"].tolist() == np.full((2, 1, *SIZE), 255).tolist()
    assert not grid_labels(*torch.from_numpy(Maps(scores).floats("none"))).any()
    inputs = walk_stage.read_inputs(NONE, cams=Maps(cams), data=run.common()["data"])
    options = {"model": None, "settings": RandomWalkSettings(), "device": torch.device("cpu")}
    walked = walk_stage.walk_image(NONE, inputs, **options)
    assert walked.shape == (1, *SIZE) and (walked == 1).all()


def test_groups_learn_from_it_and_it_has_no_attention_map(run):
    settings = {"network": "tiny_group", "learning_rate": 5e-3, "iterations": 2, "batch": 2}
    short = GroupSettings(**settings, crop=32, group_size=2, accumulate_from_epoch=0)
    maps = run.folder / "kept.h5"
    run.train(train_group, short, maps=maps)
    assert Maps(maps)["none"].shape[0] == 0 and Maps(maps)["cat"].shape[0] == 1
    output = run.folder / "attention.h5"
    group_cam(
        output=output,
        settings=GroupCamSettings(source="both", size=32, groups=2),
        group_size=2,
        weights=run.folder / "train_group.pt",
        kept=maps,
        **run.common("device", "workers", "shard"),
    )
    assert Maps(output)["none"].shape == (0, *SIZE)
    assert Maps(output)["cat"].shape == (1, *SIZE)


def make_targets(run, supervise, **inputs):
    output = run.folder / "targets.h5"
    targets(
        round=1,
        output=output,
        folder=run.folder / "targets",
        selection=run.folder / "selection.tsv",
        settings=TargetSettings(supervise=supervise),
        **run.common("workers"),
        **inputs,
    )
    return Maps(output)


def refined(run):
    """Predictions of cat everywhere, also in the image without a class."""
    ones = np.ones(SIZE, np.uint8)
    masks = run.maps("refined", {e.id: np.stack([ones, ones * 255]) for e in ENTRIES})
    predictions = run.folder / "predictions.h5"
    with write_maps(predictions) as maps:
        for entry in ENTRIES:
            put_probabilities(maps, entry.id, np.full((2, *SIZE), 0.5), [0, 1])
    return {"refined": [masks], "predictions": [predictions]}


def test_its_targets_are_all_background(run):
    made = refined(run)
    initial = {"saliency": [run.saliency], "attention": [run.cams()]}
    for inputs in (initial, {**made, "masks": run.truth, "saliency": [run.saliency]}):
        found = make_targets(run, "selected", **inputs)
        assert not found["none"].any() and found.attributes("none")["kept"]
    found = make_targets(run, "predictions", **made)
    assert not found["none"].any() and (found["cat"] == 1).all()
    mask = run.maps("mask", {"cat": np.ones(SIZE, np.uint8)})  # none of the other image
    assert not make_targets(run, "ground_truth", masks=mask)["none"].any()


def test_the_crf_keeps_background_alone_within_its_tags(run):
    predictions = Maps(refined(run)["predictions"])
    settings = MaskCRFSettings(iterations=1, restrict_to_tags=True)
    labels, confidence = refine(NONE, predictions=predictions, settings=settings, data=run.folder)
    assert not labels.any() and (confidence == 255).all()


@pytest.mark.parametrize("backend", ["torch", "auto"])
def test_a_crf_of_one_class_is_sure(backend):
    image = np.zeros((*SIZE, 3), np.uint8)
    unary = unary_from_probabilities(np.ones((1, *SIZE), np.float32))
    params = {**CRFSettings(iterations=1).model_dump(), "backend": backend}
    np.testing.assert_allclose(dense_crf(image, unary, params), 1)


def test_every_training_takes_it(run):
    classifier = {**SHORT, "network": "tiny_cls", "crop": 32}
    run.train(train_classifier, ClassifierSettings(**classifier))
    background = np.zeros((3, 8, 8), bool)
    background[0] = True
    cues = run.maps("cues", {e.id: background for e in ENTRIES})
    dsrg = RoundSettings(**SHORT, supervise="seeds", method="dsrg")
    rows = run.train(train_round, dsrg, cues=cues)
    assert float(rows[-1]["cues"]) > 0
    masks = run.maps("masks", {e.id: np.zeros(SIZE, np.uint8) for e in ENTRIES})
    run.train(train_round, RoundSettings(**SHORT, supervise="pseudo_labels"), targets=masks)


def test_the_audit_and_the_curve_score_it_as_background(run):
    cams = run.cams()
    cues = run.maps("cues", {e.id: np.eye(3, 1, dtype=bool)[..., None] for e in ENTRIES})
    chain = {"cams": [cams], "saliency": [run.saliency], "cues": [cues]}
    audit(
        truth=run.truth,
        output=run.folder / "quality.tsv",
        settings=AuditSettings(),
        crf=CRFSettings(iterations=1).model_dump_json(),
        chain=ChainOptions(**chain, pseudo_labels=[run.truth]),
        **run.common("workers"),
    )
    rows = {row["step"]: row for row in read_tsv(run.folder / "quality.tsv")}
    assert {row["images"] for row in rows.values()} == {"2"}
    assert rows["saliency × tags"]["miou"] == "1"  # 1 of the cat, and 1 of background
    output, picture = run.folder / "curve.tsv", run.folder / "curve.png"
    cam_curve(index=run.index, truth=run.truth, output=output, picture=picture, cams=[cams])
    assert {row["images"] for row in read_tsv(output)} == {"1"}


@pytest.mark.parametrize("what", ["cam", "attention", "affinity_low"])
def test_its_maps_are_exported(run, what):
    maps = run.cams()
    if what == "affinity_low":
        maps = run.maps(
            "scores",
            {e.id: np.full((2, 1 + len(e.labels), *SIZE), 255, np.uint8) for e in ENTRIES},
            classes={e.id: [0, *e.labels] for e in ENTRIES},
        )
    export(what=what, index=run.index, maps=[maps], folder=run.folder / "out")
    assert any(path.name.startswith("cat") for path in (run.folder / "out").iterdir())
