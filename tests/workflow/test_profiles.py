"""The profiles name real options, and every rule asks for the memory and time that it needs."""

import csv
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.support.workflow_helpers import (
    CONFIG,
    RANDOM_WALK,
    ROOT,
    copy_project,
    finished_run,
    snakemake,
)

SNAKEMAKES = 400  # MB: what runs a job on a cluster's node beside the stage
CLUSTERS = ("slurm", "kubernetes")
NETWORKS = (
    "affinity",
    "random_walk",
    "classifier",
    "cam",
    "group",
    "group_cam",
    "predict",
    "train",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


def profile(name: str) -> dict:
    return yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text())


def installed(executor: str) -> bool:
    return find_spec(f"snakemake_executor_plugin_{executor}") is not None


def rules() -> set[str]:
    """Names of all rules that run a job."""
    texts = [path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk")]
    return {name for text in texts for name in re.findall(r"^rule (\w+):", text, re.MULTILINE)}


def requests(project: Path, *arguments: str) -> dict[str, set[str]]:
    """The resources that the planned jobs ask for, by rule."""
    status, messages = snakemake(project, "--dry-run", "--forceall", *arguments)
    assert status == 0, messages
    jobs = re.findall(r"^rule (\w+):\n(?:    .*\n)*?    resources: (.*)", messages, re.MULTILINE)
    return {rule: set(re.findall(r"(\w+)=", asked)) for rule, asked in jobs}


def resources(project: Path, *options: str) -> dict[str, dict[str, int]]:
    """What the jobs of the whole chain ask for, by the file of their benchmark."""
    status, messages = snakemake(project, "--dry-run", "--forceall", *options)
    assert status == 0, messages
    found = {}
    for job in re.findall(r"^rule \w+:\n((?:    .*\n)*)", messages, re.MULTILINE):
        if measured := re.search(r"benchmark: (.*)", job):
            asked = re.search(r"resources: (.*)", job)[1]
            found[measured[1]] = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)(?:,|$)", asked)}
    return found


@pytest.mark.parametrize("name", ["default", *CLUSTERS])
def test_a_profile_names_real_options(project, name):
    status, text = snakemake(project, "--help")
    keys = {key for key in profile(name) if installed(name) or not key.startswith(f"{name}-")}
    assert status == 0 and keys <= set(re.findall(r"--([\w-]+)", text))


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_cluster_tries_again_and_waits_for_nobody(name):
    options = profile(name)
    assert options["executor"] == name and options["retries"] >= 1 and options["rerun-incomplete"]
    assert options["max-threads"] >= 1  # image-wise rules ask for as many as they may have


@pytest.mark.parametrize("name", CLUSTERS)
def test_a_dry_run_plans_everything_for_the_cluster(tmp_path, name):
    if not installed(name):
        pytest.skip(f"no plugin for {name}: pip install -c constraints.txt -e '.[cluster]'")
    fresh = copy_project(tmp_path, CONFIG)
    status, messages = snakemake(fresh, "--workflow-profile", name, "--dry-run")
    assert status == 0, messages
    asked = re.findall(r"resources: .*mem_mb=\d+.*", messages)
    assert len(asked) == len(re.findall(r"^rule \w+:", messages, re.MULTILINE)) - 1  # not `all`


def test_every_rule_says_what_it_needs(project, tmp_path):
    recipe = tmp_path / "walk.yaml"
    recipe.write_text(yaml.safe_dump({**CONFIG, **RANDOM_WALK}))
    on_demand = ("cam_curve.tsv", "comp6_test_cls.tar.gz", "export/cam")
    on_demand += ("export/coco", "export/labelme-0-val")
    asked = requests(project)
    asked |= requests(
        project, "--configfile", str(recipe), "--", *(f"results/{name}" for name in on_demand)
    )
    asked |= requests(project, "--configfile", str(recipe), "--", "results/pseudo_labels.h5")
    assert asked.keys() - {"all"} == rules() and len(rules()) > 20
    for rule in rules():
        assert {"mem_mb", "runtime"} <= asked[rule], rule
        assert ("gpu" in asked[rule]) == (rule in NETWORKS), rule


def test_the_jobs_of_a_run_needed_less_memory_than_they_ask_for(project):
    asked = resources(project, "--cores", "2")
    for path, wants in asked.items():
        with (project / path).open() as file:
            (measured,) = csv.DictReader(file, delimiter="\t")
        assert float(measured["max_rss"]) + SNAKEMAKES < wants["mem_mb"] < 4000, path
        assert float(measured["s"]) / 60 < wants["runtime"] <= 24 * 60, path
    benchmarks = {str(p.relative_to(project)) for p in project.glob("results/benchmarks/**/*.tsv")}
    assert asked.keys() == benchmarks


def test_more_workers_ask_for_more_memory(project):
    asked = resources(project, "--cores", "2"), resources(project, "--cores", "1")
    two, one = (found["results/benchmarks/saliency/1-of-1.tsv"]["mem_mb"] for found in asked)
    assert two > one


def test_a_further_attempt_asks_for_more(project):
    first, third = resources(project), resources(project, "--attempt", "3")
    assert first and first.keys() == third.keys()
    for path, wants in first.items():
        assert third[path]["mem_mb"] == 4 * wants["mem_mb"], path
        assert third[path]["runtime"] == 3 * wants["runtime"], path


def test_maps_that_are_given_need_no_gpu(project, tmp_path):
    for name in ("cams", "attention"):
        (project / "data" / name).mkdir(exist_ok=True)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(
        yaml.safe_dump({"cam": {"maps": "cams"}, "group_cam": {"maps": "attention"}})
    )
    asked = resources(project, "--configfile", "config.yaml", str(overlay))
    for name in ("cam", "group_cam"):
        wants = asked[f"results/benchmarks/{name}/1-of-1.tsv"]
        assert "gpu" not in wants and wants["runtime"] == 120


def test_larger_networks_and_batches_ask_for_more(project, tmp_path):
    def training(threads=1, **changes) -> dict[str, int]:
        path = tmp_path / "overlay.yaml"
        overlay = {"classifier": {"network": "vgg16_cam", **changes}}
        path.write_text(yaml.safe_dump({**overlay, "run": {"compute_threads": threads}}))
        asked = resources(project, "--configfile", "config.yaml", str(path))
        return asked["results/benchmarks/classifier.tsv"]

    # 3 GB, and 8 kB for each of 15 × 321 × 321 pixels
    small = training(batch=15, accumulation=1, crop=321, iterations=600)
    assert small["mem_mb"] == 3000 + 12364 and small["runtime"] == 10 + 20
    assert training(batch=15, accumulation=5, crop=321)["mem_mb"] == 3000 + 2472
    parts_at_a_time = training(threads=2, batch=15, accumulation=5, crop=321)
    assert parts_at_a_time["mem_mb"] == 3000 + 4945
    assert training(batch=15, accumulation=1, crop=321, iterations=10**6)["runtime"] == 24 * 60
