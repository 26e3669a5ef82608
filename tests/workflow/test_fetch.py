"""What a recipe names and data/ lacks is fetched by rules; what is there is safe from Snakemake."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from seedbed.models import build
from tests.support.file_server import serving
from tests.support.published_weights import write_checkpoint
from tests.support.recipe_helpers import cut, recipe
from tests.support.stand_ins import SOURCES, archives, publish
from tests.support.workflow_helpers import BRIEF, copy_project, planned, snakemake

WEIGHTS = "weights/squeezenet1_0.pth"
INDEX = "results/dataset/index.json"
STAMP = "data/.fetched/weights-squeezenet1_0.pth"  # of the weights
FETCH = {
    "fetch_VOCdevkit_VOC2012",
    "fetch_benchmark_RELEASE_dataset",
    "fetch_weights_squeezenet1_0_pth",
}
TRAINED = {**BRIEF, "network": "squeezenet1_0_seg", "weights": WEIGHTS}
CONFIG = {
    "run": {"device": "cpu", "compute_threads": 1, "fetch": "auto"},
    "convert": {"sbd": "benchmark_RELEASE/dataset"},
    "training": TRAINED,
    "rounds": [{"supervise": "ground_truth"}],
}


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    made = archives(tmp_path_factory.mktemp("made"), train=6, val=2, size=48)
    return {**made, "squeezenet1_0": b"weights" * 5000}


@pytest.fixture
def site(contents):
    with serving() as site:
        yield site


@pytest.fixture
def project(tmp_path, site, contents, monkeypatch):
    project = copy_project(tmp_path, CONFIG)
    publish(project, site, contents)
    monkeypatch.setenv("SEEDBED_MIRROR", site.address)
    return project


def put(project, *names):
    """Put what a person has got into data/: VOC, SBD, weights."""
    made = {"voc": "VOCdevkit", "sbd": "benchmark_RELEASE"}
    for name in names:
        if name == "weights":
            (project / "data/weights").mkdir(parents=True)
            (project / "data" / WEIGHTS).write_bytes(b"mine")
            continue
        folder = project / "data" / made[name]
        lists = folder / ("VOC2012/ImageSets/Segmentation" if name == "voc" else "dataset")
        lists.mkdir(parents=True)
        for one in ("train", "val"):
            (lists / f"{one}.txt").write_text("mine\n")


def files(project):
    """Contents of all that is in data/, by path, but not of the hidden folder."""
    data = project / "data"
    return {
        path.relative_to(data).as_posix(): path.read_bytes()
        for path in data.rglob("*")
        if path.is_file() and ".fetched" not in path.parts
    }


def fails(project, *arguments):
    status, messages = snakemake(project, *arguments)
    assert status == 1, messages
    return messages


def test_only_what_lacks_has_a_rule(project):
    others = planned(project) - FETCH
    assert planned(project) == others | FETCH
    put(project, "voc", "weights")
    assert planned(project) == others | {"fetch_benchmark_RELEASE_dataset"}
    put(project, "sbd")
    assert planned(project) == others


def test_a_target_that_needs_no_weights_fetches_none(project):
    assert planned(project, INDEX) == {"convert", *FETCH - {"fetch_weights_squeezenet1_0_pth"}}


@pytest.mark.parametrize("fetch", ["ask", "never"])
def test_without_auto_nothing_is_planned(project, fetch):
    messages = fails(project, "-n", "--config", f"run={{fetch: {fetch}}}")
    line = messages.rstrip().splitlines()[-1]
    assert "data/" in line
    command = f"python -m stages.fetch --path VOCdevkit/VOC2012 benchmark_RELEASE/dataset {WEIGHTS}"
    assert (f"; get it with {command}, or " in line) == (fetch == "ask")


def test_it_runs_and_then_nothing_is_left_to_do(project, site):
    """One command makes the index from nothing; what was fetched is plain data afterwards."""
    target = ["--cores", "2", INDEX, STAMP]
    status, messages = snakemake(project, *target)
    assert status == 0, messages
    assert len(site.requests) == 3
    assert files(project)[WEIGHTS] == b"weights" * 5000
    assert "train_aug: 6 images" in (project / "results/dataset/summary.tsv").read_text()
    assert planned(project, INDEX) == set()
    ask = ("--config", "run={fetch: ask}")
    assert planned(project, INDEX, *ask) == set()

    (project / SOURCES).write_text((project / SOURCES).read_text().replace("host.robots", "www"))
    assert planned(project, INDEX) == set()
    before = files(project)
    for danger in (["--forceall"], ["--forcerun", "convert"], ["--delete-all-output"]):
        status, messages = snakemake(project, "--cores", "2", INDEX, *danger)
        assert status == 0, messages
        assert files(project) == before
    assert len(site.requests) == 3

    val = project / "data/VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"
    val.write_text(val.read_text().splitlines()[0])
    assert planned(project, INDEX) == {"convert"}


@pytest.mark.parametrize(
    "danger", [["--forceall"], ["--forcerun", "convert"], ["--delete-all-output"]]
)
def test_nothing_that_a_person_put_there_is_deleted(project, site, danger):
    """Whether the run fails or not: VOC is a person's, and the conversion fails on it."""
    put(project, "voc", "weights")
    mine = files(project)
    status, messages = snakemake(project, "--cores", "2", "results/rounds/0/weights.pt", *danger)
    if danger == ["--delete-all-output"]:  # which runs nothing
        assert status == 0, messages
    else:
        assert "Error in rule convert" in messages
    assert {name: files(project)[name] for name in mine} == mine
    assert not any("VOCtrainval" in path for path, _ in site.requests)


def test_an_edited_list_of_sources_deletes_nothing(project):
    put(project, "voc", "sbd", "weights")
    mine = files(project)
    entries = yaml.safe_load((project / SOURCES).read_text())
    for entry in entries.values():
        entry["checksums"], entry["size"] = {"sha256": "0" * 64}, 1
        entry.pop("folder", None)
    (project / SOURCES).write_text(yaml.safe_dump({"voc2012": entries["voc2012"]}))
    snakemake(project, "--cores", "2", INDEX)
    assert files(project) == mine


def test_a_failed_job_leaves_nothing_and_deletes_nothing(project, site):
    put(project, "weights")
    site.answers = [404] * 99
    messages = fails(project, "--cores", "2", "--retries", "0", INDEX)
    assert "404 Not Found" in messages and "elsewhere, put it at data/" in messages
    assert files(project) == {WEIGHTS: b"mine"}


def test_what_a_person_puts_there_during_the_run_is_kept(project, site):
    """Snakemake would delete an output that appears before its job begins."""

    def arrive():
        target = project / "data" / WEIGHTS
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"mine")

    site.on_request = arrive  # of the first job, which is another's
    targets = (INDEX, STAMP)
    _, messages = snakemake(project, "--cores", "1", "--", *targets)
    assert files(project)[WEIGHTS] == b"mine", messages


def test_a_run_that_is_killed_goes_on(project, site):
    site.delay = 0.02
    call = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "--", STAMP]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    process = subprocess.Popen(
        call, cwd=project, env=environment, start_new_session=True, stderr=subprocess.DEVNULL
    )
    part = project / "data/.fetched/weights-squeezenet1_0.pth.part"
    end = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 3000) and time.monotonic() < end:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    came = part.stat().st_size
    assert files(project) == {} and 3000 < came < 35_000
    site.delay = 0
    snakemake(project, "--unlock")
    status, messages = snakemake(project, "--cores", "1", STAMP)
    assert status == 0, messages
    assert files(project)[WEIGHTS] == b"weights" * 5000
    assert site.requests[-1][1] == f"bytes={came}-"


def test_what_was_removed_is_fetched_again(project):
    (project / "data/.fetched").mkdir(parents=True)
    (project / "data/.fetched/VOCdevkit-VOC2012").touch()
    assert "fetch_VOCdevkit_VOC2012" in planned(project, INDEX)


def test_the_drawing_of_the_jobs_is_the_same_whatever_is_there(project, monkeypatch):
    monkeypatch.setenv("SEEDBED_DRAWING", "1")

    def drawing() -> str:
        status, messages = snakemake(project, "--dag", "--forceall", "results/miou.txt")
        assert status == 0, messages
        return messages[messages.index("digraph") : messages.rindex("}")]

    empty = drawing()
    assert "fetch" not in empty and "convert" in empty
    put(project, "voc", "sbd", "weights")
    (project / "data/.fetched").mkdir(parents=True)
    (project / "data/.fetched/VOCdevkit-VOC2012").touch()
    assert drawing() == empty


def test_the_rule_of_the_drawing_says_that_it_draws():
    text = (Path(__file__).parents[2] / "workflow/rules/evaluation.smk").read_text()
    assert "SEEDBED_DRAWING=1 PYTHONHASHSEED=0 snakemake --dag" in text


@pytest.mark.recipes
def test_a_published_system_runs_from_nothing_to_its_figure(tmp_path, site, monkeypatch):
    """One command: VOC and SBD in the published layouts, weights, and all of DSRG, cut short."""
    content = recipe("dsrg-vgg16")
    small = {**cut(content), "convert": content["convert"], "pathvars": content["pathvars"]}
    small.pop("mini_dataset")
    small["run"] = {"device": "cpu", "compute_threads": 1}
    project = copy_project(tmp_path, small)
    weights = tmp_path / "vgg16.caffemodel"
    write_checkpoint(weights, "vgg16_20M", build("vgg16_largefov", 21))
    made = archives(tmp_path / "made", train=12, val=4, size=64)
    publish(project, site, {**made, "vgg16_20M": weights.read_bytes()})
    monkeypatch.setenv("SEEDBED_MIRROR", site.address)
    call = [sys.executable, "-m", "snakemake", "--cores", "2", "--config", "run={fetch: auto}"]
    ended = subprocess.run(call, cwd=project, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "mIoU" in (project / "results/dsrg-vgg16/miou.txt").read_text()
    assert planned(project) == set()
