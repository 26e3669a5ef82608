"""The published systems' recipes: each plans its own steps, and each really runs, cut short."""

import csv
import fcntl
import functools
import json
import math
import os
import shutil
from pathlib import Path

import pytest
import torch

from seedbed.models import build
from tests.support.published_weights import write_checkpoint
from tests.support.recipe_helpers import (
    SYSTEMS,
    cut,
    recipe,
    trainings_of,
    weights_of,
    write_lists,
    write_train_cls,
)
from tests.support.workflow_helpers import copy_project, planned, run, snakemake

# By file: how it was published, and a network that holds what it holds.
PUBLISHED = {
    "weights/vgg16_20M.caffemodel": ("vgg16_20M", "vgg16_largefov", {}),
    "weights/vgg16.pth": ("torchvision", "vgg16_group", {}),
    "weights/resnet101.pth": ("torchvision", "resnet101_deeplab", {"stride_in_first": False}),
    "weights/vgg16_deeplab_aspp.npy": ("port_init", "vgg16_aspp", {"padding": "tf"}),
    "weights/deeplab_resnet_init.ckpt": ("spsm_resnet101", "resnet101_deeplab", {}),
    "weights/ilsvrc-cls_rna-a1_cls1000_ep-0001.params": ("ademxapp", "resnet38_cls", {}),
}

ROUND = {"train-{}", "predict-{}-train", "predict-{}-val", "crf-{}-train", "crf-{}-val"}
CUES = {"classifier", "cam", "saliency", "seeds"}
DSRG = ({"convert", *CUES}, 1, set())
SPSM = ({"convert", *(CUES - {"seeds"})}, 3, {"targets-0", "targets-1", "targets-2"})
PSA = {"classifier", "cam", "affinity_scores", "affinity", "random_walk"}
# By recipe: what comes before the rounds, the number of rounds, and what is made for them.
PLANS = {
    "dsrg-vgg16": (DSRG[0], 2, {"targets-1"}),
    "dsrg-resnet101": (DSRG[0], 2, {"targets-1"}),
    "dsrg-tf": DSRG,
    "group-wsss": (
        {"convert", "group", "group_cam", "saliency", "pseudo_labels"},
        1,
        {"targets-0"},
    ),
    "spsm-vgg16": SPSM,
    "spsm-resnet101": SPSM,
    "psa-resnet38": ({"convert", *PSA, "pseudo_labels"}, 1, {"targets-0"}),
}


@functools.cache
def published_weights(shared: Path) -> Path:
    """A folder of all weight files that the recipes name, random numbers inside, written once."""
    with (shared / "published.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = shared / "published"
        if not (folder / "whole").exists():
            for number, (path, (layout, network, options)) in enumerate(PUBLISHED.items()):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                torch.manual_seed(number)
                write_checkpoint(folder / path, layout, calm(build(network, 21, **options)))
            (folder / "whole").touch()
    return folder / "weights"


def calm(model: torch.nn.Module) -> torch.nn.Module:
    """Let no residual block add much: norms that are frozen at random would make all explode."""
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.weight.data.uniform_(0.1, 0.3)
    return model


@pytest.fixture
def weights(tmp_path_factory) -> Path:
    own = tmp_path_factory.getbasetemp()
    return published_weights(own.parent if "PYTEST_XDIST_WORKER" in os.environ else own)


def project_of(folder: Path, content: dict, weights: Path) -> Path:
    """The project with a recipe for its config, and the published weights in its data."""
    project = copy_project(folder, content)
    (project / "data").mkdir()
    (project / "data/weights").symlink_to(weights)
    return project


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_recipe_plans_its_own_steps_on_voc(name, tmp_path, weights):
    assert weights_of(recipe(name)) <= PUBLISHED.keys()
    project = project_of(tmp_path, recipe(name), weights)
    write_lists(project / "data")
    assert planned(project) == plan(*PLANS[name])


SELECTED = {"targets-1", "targets-2"}
# The recipes of the photos by their names after `voc-animals-`; they share convert, the classifier,
# whose weights all rounds start from, its maps and the saliency of the first.
PHOTOS = {
    "": ({"convert", *CUES, *PSA, "pseudo_labels"}, 3, SELECTED),
    "u2net": ({"convert", "saliency", *PSA, "pseudo_labels"}, 3, {"targets-0", *SELECTED}),
    "ceiling": ({"convert", "classifier"}, 1, {"targets-0"}),
    "dsrg": PLANS["dsrg-vgg16"],
    "dsrg-tf": PLANS["dsrg-tf"],
    "group-wsss": ({*PLANS["group-wsss"][0], "classifier"}, *PLANS["group-wsss"][1:]),
    "spsm": SPSM,
    "psa": PLANS["psa-resnet38"],
}


def plan(before: set[str], rounds: int, between: set[str]) -> set[str]:
    each = {job.format(number) for number in range(rounds) for job in ROUND}
    return {*before, *each, *between, "masks", "evaluate", "audit", "jobs", "report"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """The project, with the lists, weights and maps that the photos' recipes name."""
    project = copy_project(tmp_path_factory.mktemp("photos"), {})
    lists = project / "data/voc-animals/VOCdevkit/VOC2012/ImageSets/Segmentation"
    shutil.copytree(project / "recipes/voc-animals", lists)
    for path in ("weights/mobilenet_v2.pth", "weights/u2net.onnx"):
        (project / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (project / "data" / path).write_text("not read by a dry run")
    return project


OVERLAYS = [(name,) for name in PHOTOS if name]
OVERLAYS += [("u2net", name) for name in PHOTOS if name not in ("", "u2net")]


@pytest.mark.parametrize("overlays", [(), *OVERLAYS], ids="-".join)
def test_a_recipe_of_the_photos_plans_its_own_steps(overlays, photos):
    names = ["voc-animals", *(f"voc-animals-{name}" for name in overlays)]
    files = [f"recipes/{name}.yaml" for name in names]
    expected = plan(*PHOTOS[overlays[-1] if overlays else ""])
    assert planned(photos, "--configfile", *files) == expected


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_recipe_names_the_weights_that_are_not_there(name, tmp_path):
    project = copy_project(tmp_path, recipe(name))
    write_lists(project / "data")
    status, messages = snakemake(project, "--dry-run")
    assert status == 1
    assert messages.rstrip().splitlines()[-1].startswith("data/weights/")
    assert "put it there" in messages


@pytest.mark.recipes
@pytest.mark.parametrize("name", SYSTEMS)
def test_a_recipe_runs_to_its_figure(name, tmp_path, weights):
    content = cut(recipe(name))
    project = project_of(tmp_path, {**content, "pathvars": {"results": "results"}}, weights)
    if content["convert"].get("label_source") == "train_cls":
        devkit = project / "data" / content["convert"]["devkit"]
        run(project, f"data/{content['convert']['devkit']}/ImageSets/Segmentation/train_aug.txt")
        write_train_cls(devkit)
    results = run(project) / "results"
    figures = json.loads((results / "metrics.json").read_text())
    variant = content.get("evaluate", {}).get("variant", "voc")
    assert 0 <= figures["miou"] < 1 and figures["variant"] == variant
    assert len(list((results / "masks").glob("*.png"))) == content["mini_dataset"]["val"]
    for log in results.rglob("log.tsv"):
        rows = list(csv.DictReader(log.open(), dialect="excel-tab"))
        assert rows and all(math.isfinite(float(row["loss"])) for row in rows)
    trained = {torch.load(path)["name"] for path in results.rglob("weights.pt")}
    assert trained == {block.network for block in trainings_of(content)}
