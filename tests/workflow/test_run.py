"""The whole chain really run on a small data set, and what it leaves."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from seedbed.data.index import Index
from seedbed.evaluation.metrics import ConfusionMatrix
from seedbed.formats.cue_pickle import read_cue_pickle
from seedbed.formats.maps import Maps
from seedbed.formats.masks import read_mask
from seedbed.formats.palette import VOC_PALETTE
from seedbed.formats.tables import read_tsv
from seedbed.models.weights.checkpoint import load_network
from stages.cam import cam
from stages.command import run_stage
from stages.crf import crf
from stages.group_cam import group_cam
from stages.masks import masks
from stages.predict import predict
from stages.pseudo_labels import pseudo_labels
from stages.saliency import saliency
from stages.seeds import seeds
from stages.settings import Settings
from tests.support.workflow_helpers import CONFIG, RANDOM_WALK, ROOT, finished_run, snakemake

SETTINGS = Settings.model_validate(CONFIG)
SIDE = CONFIG["mini_dataset"]["size"]
TRAIN, VAL = CONFIG["mini_dataset"]["train"], CONFIG["mini_dataset"]["val"]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def results(project) -> Path:
    return project / "results"


@pytest.fixture(scope="module")
def index(results) -> Index:
    return Index.load(results / "dataset/index.json")


def listed_artefacts(table: int = 0) -> list[str]:
    """Patterns of the artefacts in a table of results/README.md."""
    text = (ROOT / "results/README.md").read_text().split("Made only if")[table]
    patterns = []
    for row in re.findall(r"^\| (`.*?) \|", text, re.M):
        names = re.findall(r"`([^`]+)`", row)
        folder = names[0].rstrip("/").rpartition("/")[0]
        for name in names:
            inside = folder and "/" not in name.rstrip("/")
            pattern = f"{folder}/{name}" if inside else name
            patterns.append(pattern.rstrip("/"))
    return patterns


def as_glob(pattern: str) -> str:
    return re.sub(r"\{\w+\}", "*", pattern)


@pytest.mark.parametrize("pattern", listed_artefacts())
def test_every_listed_artefact_is_there(results, pattern):
    found = list(results.glob(as_glob(pattern)))
    assert found
    for path in found:
        assert any(path.iterdir()) if path.is_dir() else path.stat().st_size


def test_what_is_made_on_demand_can_be_asked_for(project, tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "affinity": RANDOM_WALK["affinity"]}))
    values = {"round": "1", "split": "val", "shard": "1-of-1"}
    targets = [f"results/{pattern.format(**values)}" for pattern in listed_artefacts(1)]
    assert len(targets) == 17
    status, messages = snakemake(project, "--dry-run", *targets, "--configfile", str(config))
    assert status == 0, messages


def test_every_artefact_is_listed(results):
    listed = {path for pattern in listed_artefacts() for path in results.glob(as_glob(pattern))}
    files = [path for path in results.rglob("*") if path.is_file()]
    assert [path for path in files if not {path, *path.parents} & listed] == []


def test_nothing_temporary_is_left(results):
    names = [path.name for path in results.rglob("*")]
    assert not [name for name in names if re.search("checkpoint|lock|tmp", name)]
    assert {name for name in names if name.startswith(".")} <= {".snakemake_timestamp"}


def test_a_second_run_does_nothing(project, results):
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    status, messages = snakemake(project, "--cores", "2")
    assert status == 0 and "Nothing to be done" in messages
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


def test_the_data_set_is_read_whole(results, index):
    assert len(index.split("train")) == TRAIN and len(index.split("val")) == VAL
    assert index.num_classes == 7 and index.label_source == "annotations"
    truth = Maps(results / "dataset/masks.h5")
    for entry in index.images:
        assert truth[entry.id].shape == (entry.height, entry.width) == (SIDE, SIDE)
        assert set(np.unique(truth[entry.id])) <= {*range(7), 255}
        assert entry.labels
    lines = (results / "dataset/input_list.txt").read_text().splitlines()
    assert lines == [f"{entry.id}.jpg {k}" for k, entry in enumerate(index.split("train"))]
    assert read_tsv(results / "dataset/summary.tsv")[-1]["images"] == str(TRAIN + VAL)


@pytest.mark.parametrize("name", ["cam/1-of-1.h5", "group/cam/1-of-1.h5", "group/maps.h5"])
def test_attention_maps_are_of_the_tags_of_the_train_images(results, index, name):
    maps = Maps(results / name)
    assert set(maps) == {entry.id for entry in index.split("train")}
    for entry in index.split("train"):
        found, about = maps[entry.id], maps.attributes(entry.id)
        assert found.dtype == np.uint8 and len(found) == len(entry.labels)
        assert about["levels"] == 255 and tuple(about["classes"]) == entry.labels
        assert name == "group/maps.h5" or found.shape[1:] == (SIDE, SIDE)


def test_saliency_is_of_the_images_size(results, index):
    maps = Maps(results / "saliency/1-of-1.h5")
    shapes = {(maps[entry.id].dtype, maps[entry.id].shape) for entry in index.split("train")}
    assert shapes == {(np.dtype(np.uint8), (SIDE, SIDE))}
    assert len(maps) == TRAIN and maps.file_attributes()["levels"] == 255


def test_cues_are_the_same_in_both_formats(results, index):
    cues = Maps(results / "seeds/cues.h5")
    grid = SETTINGS.seeds.grid
    dense, tags = read_cue_pickle(
        results / "seeds/localization_cues.pickle", num_classes=7, grid=grid
    )
    for k, entry in enumerate(index.split("train")):
        cue = cues[entry.id]
        assert cue.dtype == bool and cue.shape == (7, grid, grid)
        assert set(np.flatnonzero(cue.any((1, 2)))) <= {0, *entry.labels}
        assert np.array_equal(cue, dense[k]) and tags[k] == entry.labels
    with Image.open(next((results / "seeds/preview").glob("*.png"))) as picture:
        assert picture.mode == "RGB"


@pytest.mark.parametrize(
    ("name", "network", "classes"),
    [
        ("classifier", "tiny_cls", 6),
        ("group", "tiny_group", 6),
        ("rounds/0", "tiny_seg", 7),
        ("rounds/1", "tiny_seg", 7),
    ],
)
def test_networks_can_be_loaded_and_were_trained(results, index, name, network, classes):
    model, about = load_network(results / name / "weights.pt")
    assert about["name"] == network
    assert about["classes"] == index.class_names[7 - classes :]
    assert all(p.isfinite().all() for p in model.parameters())
    rows = read_tsv(results / name / "log.tsv")
    assert [row["step"] for row in rows] == ["6"] and float(rows[0]["loss"]) > 0


@pytest.mark.parametrize("round", [0, 1])
@pytest.mark.parametrize("split", ["train", "val"])
def test_predictions_are_probabilities_and_masks_have_confidence(results, index, round, split):
    predictions = Maps(results / f"rounds/{round}/predictions/{split}/1-of-1.h5")
    refined = Maps(results / f"rounds/{round}/masks/{split}/1-of-1.h5")
    ids = {entry.id for entry in index.split(split)}
    for maps in (predictions, refined):
        about = maps.file_attributes()
        assert set(maps) == ids and (about["round"], about["split"]) == (round, split)
    for entry in index.split(split):
        found, classes = predictions.log_probabilities(entry.id)
        classes = classes.tolist()
        assert found.dtype == np.float16 and found.shape == (len(classes), SIDE, SIDE)
        assert classes == sorted(classes) and classes[0] == 0
        assert np.all((found <= 0) & (np.exp(found.astype(np.float32)).sum(0) < 1.01))
        labels, confidence = refined[entry.id]
        assert refined[entry.id].dtype == np.uint8 and confidence.min() > 0
        allowed = {0, *entry.labels} if split == "train" else set(classes)
        assert set(np.unique(labels)) <= allowed <= set(classes)


@pytest.mark.parametrize("name", ["pseudo_labels", "rounds/1/targets"])
def test_labels_to_train_on_are_tags_or_void(results, index, name):
    found = Maps(results / f"{name}.h5")
    assert set(found) == {entry.id for entry in index.split("train")}
    for entry in index.split("train"):
        assert found[entry.id].shape == (SIDE, SIDE) and found[entry.id].dtype == np.uint8
        assert set(np.unique(found[entry.id])) <= {0, *entry.labels, 255}


def test_the_selection_is_told_apart(results, index):
    rows = {row["id"]: row for row in read_tsv(results / "rounds/1/selection.tsv")}
    found = Maps(results / "rounds/1/targets.h5")
    for entry in index.split("train"):
        assert found.attributes(entry.id)["kept"] == (rows[entry.id]["kept"] == "1")
        assert 0 <= float(rows[entry.id]["quality"]) <= 1
        valid = (found[entry.id] != 255).mean()
        assert float(rows[entry.id]["valid"]) == pytest.approx(valid, rel=1e-4)
    shares = {row["id"]: row for row in read_tsv(results / "pseudo_labels.tsv")}
    labels = Maps(results / "pseudo_labels.h5")
    for image, row in shares.items():
        assert float(row["void"]) == pytest.approx((labels[image] == 255).mean(), rel=1e-4)


@pytest.mark.parametrize("name", ["masks", "dataset/masks", "pseudo_labels", "rounds/1/targets"])
def test_pictures_hold_the_same_masks(results, name):
    found = Maps(results / f"{name}.h5")
    assert {path.stem for path in (results / name).glob("*.png")} == set(found)
    for path in (results / name).glob("*.png"):
        assert np.array_equal(read_mask(path), found[path.stem])
        with Image.open(path) as picture:
            assert picture.mode == "P" and picture.getpalette() == VOC_PALETTE.ravel().tolist()


def test_the_figure_is_that_of_the_masks(results, index):
    found, truth = Maps(results / "masks.h5"), Maps(results / "dataset/masks.h5")
    refined = Maps(results / "rounds/1/masks/val/1-of-1.h5")
    matrix = ConfusionMatrix(7)
    for entry in index.split("val"):
        assert np.array_equal(found[entry.id], refined[entry.id][0])
        matrix.update(truth[entry.id], found[entry.id])
    metrics = json.loads((results / "metrics.json").read_text())
    assert set(found) == {entry.id for entry in index.split("val")}
    assert metrics["miou"] == matrix.miou() == metrics["variants"]["voc"]
    assert metrics["confusion"] == matrix.counts.tolist()
    assert (metrics["split"], metrics["images"]) == ("val", VAL)
    with Image.open(results / "confusion.png") as picture:
        picture.load()


def test_the_report_says_the_figure_and_nothing_of_where_or_when(results, index):
    text = (results / "miou.txt").read_text()
    metrics = json.loads((results / "metrics.json").read_text())
    assert text.splitlines()[0] == f"mIoU {metrics['miou']:.4f}"
    assert all(name in text for name in index.class_names)
    assert not re.search(r"/|\d\d:\d\d|20\d\d-|seconds|results", text)


def test_the_audit_scores_every_step_on_every_list(results, index):
    rows = read_tsv(results / "quality.tsv")
    found = {(row["list"], row["round"], row["step"]) for row in rows}
    refined = ["cam", "saliency × tags", "pseudo_labels"]
    before = ["seeds", *refined, *(f"{step} + crf" for step in refined)]
    steps = [("", step) for step in before] + [("1", "targets")]
    predictions = ["predictions", "predictions + crf"]
    for round in ("0", "1"):
        steps += [(round, step) for step in (*predictions, "predictions within tags")]
    own = "train (VOC's own list)"
    expected = {(name, *step) for name in ("train", own) for step in steps}
    expected |= {("val", round, step) for round in ("0", "1") for step in predictions}
    assert found == expected and len(rows) == len(expected)
    images = {row["list"]: row["images"] for row in rows if row["step"] == "seeds"}
    assert images == {"train": str(TRAIN), own: str(len(index.audit_list))}
    assert 0 < len(index.audit_list) < TRAIN


def test_the_audit_ends_with_the_final_figure(results):
    metrics = json.loads((results / "metrics.json").read_text())
    rows = {
        (row["list"], row["round"], row["step"]): row for row in read_tsv(results / "quality.tsv")
    }
    last = rows["val", "1", "predictions + crf"]
    assert float(last["miou"]) == pytest.approx(metrics["miou"], rel=1e-5)
    for name, iou in metrics["iou"].items():
        assert last[f"iou {name}"] == ("" if iou is None else f"{iou:.6g}")


@pytest.fixture
def in_project(project, monkeypatch):
    """Stages run by hand in the project's folder, as the workflow runs them."""
    monkeypatch.chdir(project)
    for name, value in {"DATA": "data", "DEVICE": "cpu", "THREADS": "1", "WORKERS": "1"}.items():
        monkeypatch.setenv(f"SEEDBED_{name}", value)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def in_shards(function, output: str, *arguments: object, count: int = 3) -> list[str]:
    """Run an image-wise stage in several shards; gives their files."""
    files = [f"{output}/{k + 1}-of-{count}.h5" for k in range(count)]
    for file in files:
        shard = Path(file).stem
        run_stage(function, [*map(str, arguments), "--shard", shard, "--output", file])
    return files


def same(one: Path | str, other: Path | str) -> bool:
    return Path(one).read_bytes() == Path(other).read_bytes()


def with_params(block, *arguments: object) -> list[object]:
    index = ["--index", "results/dataset/index.json"]
    return ["--params", block.model_dump_json(), *index, *arguments]


def test_cues_do_not_depend_on_the_shards(in_project, tmp_path):
    s, weights = SETTINGS, ["--weights", "results/classifier/weights.pt"]
    cams = in_shards(cam, f"{tmp_path}/cam", *with_params(s.cam, *weights))
    salient = in_shards(saliency, f"{tmp_path}/saliency", *with_params(s.saliency))
    parts = ["--cams", *cams, "--saliency", *salient, "--preview", tmp_path / "preview"]
    files = ["--cues", tmp_path / "cues.h5", "--pickle", tmp_path / "cues.pickle"]
    run_stage(seeds, list(map(str, with_params(s.seeds, *parts, *files))))
    assert same(tmp_path / "cues.h5", "results/seeds/cues.h5")
    assert same(tmp_path / "cues.pickle", "results/seeds/localization_cues.pickle")


def test_pseudo_labels_do_not_depend_on_the_shards(in_project, tmp_path):
    trained = ["--weights", "results/group/weights.pt", "--kept", "results/group/maps.h5"]
    size = ["--group-size", SETTINGS.group.group_size]
    options = with_params(SETTINGS.group_cam, *trained, *size)
    cams = in_shards(group_cam, f"{tmp_path}/cam", *options)
    parts = ["--attention", *cams, "--saliency", "results/saliency/1-of-1.h5"]
    files = ["--output", tmp_path / "p.h5", "--folder", tmp_path / "p", "--summary", tmp_path / "t"]
    options = with_params(SETTINGS.pseudo_labels, *parts, *files)
    run_stage(pseudo_labels, list(map(str, options)))
    assert same(tmp_path / "p.h5", "results/pseudo_labels.h5")
    assert same(tmp_path / "t", "results/pseudo_labels.tsv")


def test_masks_do_not_depend_on_the_shards(in_project, tmp_path):
    about = ["--round", 1, "--split", "val"]
    trained = ["--weights", "results/rounds/1/weights.pt"]
    options = with_params(SETTINGS.predict, *trained, *about)
    refined = []
    for k, part in enumerate(in_shards(predict, f"{tmp_path}/predictions", *options, count=2), 1):
        options = with_params(SETTINGS.crf, "--predictions", part, *about)
        refined.append(f"{tmp_path}/masks/{k}-of-2.h5")
        options += ["--shard", f"{k}-of-2", "--output", refined[-1]]
        run_stage(crf, list(map(str, options)))
    files = ["--output", f"{tmp_path}/masks.h5", "--folder", f"{tmp_path}/folder"]
    options = ["--index", "results/dataset/index.json", "--split", "val", "--refined", *refined]
    run_stage(masks, [*options, *files])
    assert same(tmp_path / "masks.h5", "results/masks.h5")


# Runs a training stage with a checkpoint after every iteration, killed after the given one.
DRIVER = """
import os, runpy, signal, sys
from seedbed.training import loop
from seedbed.training.checkpoint import Checkpoint

fatal, stage = int(sys.argv.pop(1)), sys.argv.pop(1)
loop.CHECKPOINT_SECONDS = -1
save = Checkpoint.save

def save_and_die(self, step, parts):
    save(self, step, parts)
    print(step, flush=True)
    if step == fatal:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoint.save = save_and_die
runpy.run_module(stage, run_name="__main__", alter_sys=True)
"""


def train_until(fatal: int, stage: str, arguments: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", DRIVER, str(fatal), f"stages.{stage}", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("stage", "name", "options"),
    [
        ("train_classifier", "classifier", with_params(SETTINGS.classifier)),
        ("train_group", "group", with_params(SETTINGS.group)),
        (
            "train_round",
            "rounds/0",
            with_params(SETTINGS.rounds[0], "--cues", "results/seeds/cues.h5"),
        ),
    ],
)
def test_a_killed_training_goes_on_to_the_same_bytes(
    in_project, results, tmp_path, stage, name, options
):
    files = {"--weights": "weights.pt", "--log": "log.tsv"}
    if stage == "train_group":
        files["--maps"] = "maps.h5"
    outputs = [text for flag, file in files.items() for text in (flag, str(tmp_path / file))]
    arguments = [*map(str, options), *outputs]
    killed = train_until(3, stage, arguments)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.split() == ["1", "2", "3"]
    assert not (tmp_path / "weights.pt").exists()
    resumed = train_until(0, stage, arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.split() == ["4", "5", "6"]
    for file in files.values():
        assert same(tmp_path / file, results / name / file)
    assert {path.name for path in tmp_path.iterdir()} == set(files.values())
