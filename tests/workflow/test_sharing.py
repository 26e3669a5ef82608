"""Two recipes that share data set, classifier, class activation maps and saliency."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from tests.support.workflow_helpers import (
    finished_run,
    planned,
    run,
    snakemake,
    write_artefact,
)
from workflow.sharing import first_difference, recorded_settings

FOLDERS = {"results": "{results}-other", "shared": "{shared}"}
SHARED = {"mini_dataset-0", "convert", "classifier", "cam", "saliency"}
CUES = "results-other/seeds/cues.h5"
OTHER = ("--configfile", "config.yaml", "other.yaml")


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """The default run, and the seeds of another recipe that shares what comes before them."""
    project = finished_run(tmp_path_factory.getbasetemp())
    copied = shutil.copytree(project, tmp_path_factory.mktemp("sharing") / "project")
    other = {"overlay_of": "config.yaml", "pathvars": FOLDERS, "seeds": {"grid": 12}}
    (copied / "other.yaml").write_text(yaml.safe_dump(other))
    return run(copied, CUES, options=OTHER)


def overlay(folder: Path, **blocks) -> tuple[str, ...]:
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(blocks))
    return "--configfile", "config.yaml", str(path)


def test_recipes_run_in_turn_remake_nothing(project):
    assert planned(project) == set()
    assert planned(project, *OTHER, "--", CUES) == set()
    assert planned(project) == set()
    assert not (project / "results-other/dataset").exists()


def test_a_run_records_where_the_cost_of_shared_steps_is(project):
    names = ("cam", "classifier.tsv", "convert.tsv", "saliency")
    for results, expected in (("results", []), ("results-other", names)):
        recorded = json.loads((project / results / "provenance.json").read_text())["benchmarks"]
        assert recorded == [f"results/benchmarks/{name}" for name in expected]
    assert all((project / f"results/benchmarks/{name}").exists() for name in names)


def test_forced_seeds_are_made_in_the_recipe_s_own_folder(project):
    assert planned(project, *OTHER, "-R", "seeds", "--", CUES) == {"seeds"}
    assert not SHARED & planned(project, *OTHER, "-R", "seeds")
    assert not SHARED & planned(project, "-R", "seeds")


def test_what_is_shared_is_not_planned_for_a_new_recipe(project, tmp_path):
    jobs = planned(project, *overlay(tmp_path, pathvars={**FOLDERS, "results": "third"}))
    assert {"seeds", "group", "report"} <= jobs and not SHARED & jobs


def test_records_of_both_folders_find_changes_without_snakemake_s(project, tmp_path):
    ignored = shutil.ignore_patterns(".snakemake")
    copied = shutil.copytree(project, tmp_path / "copy", ignore=ignored, copy_function=shutil.copy)
    assert planned(copied, *OTHER, "--", CUES) == set()
    assert planned(copied) == set()


@pytest.mark.parametrize(
    ("block", "line"),
    [
        (
            {"convert": {"seed": 3}},
            "results/dataset: shared .* convert.seed 0, not 3; set pathvars",
        ),
        (
            {"classifier": {"iterations": 7}},
            "results/classifier: .* classifier.iterations 6, not 7",
        ),
        ({"cam": {"scales": [2.0]}}, r"results/cam: .* cam.scales \[1.0\], not \[2.0\]"),
        ({"saliency": {"superpixels": 40}}, "results/saliency: .* saliency.superpixels 50, not 40"),
    ],
)
def test_another_setting_of_a_shared_block_is_refused_in_one_line(project, tmp_path, block, line):
    status, messages = snakemake(
        project, "--dry-run", *overlay(tmp_path, pathvars=FOLDERS, **block)
    )
    assert status == 1
    assert re.match(line, messages.splitlines()[-1]), messages
    (rule,) = block
    assert rule in planned(project, *overlay(tmp_path, **block))  # whose own folder it is


def test_the_synthetic_data_set_of_others_is_not_made_anew(project, tmp_path):
    larger = overlay(tmp_path, pathvars=FOLDERS, mini_dataset={"size": 96})
    status, messages = snakemake(project, "--dry-run", *larger)
    line = "results/dataset: shared by several recipes and made with mini_dataset.size 64, not 96; "
    assert status == 1 and messages.splitlines()[-1].startswith(line)


def test_maps_of_another_number_of_shards_are_not_compared(project, tmp_path):
    copied = shutil.copytree(project, tmp_path / "copy")
    write_artefact(copied, "results/cam/1-of-4.h5", {"scales": [2.0]})
    assert planned(copied, *OTHER, "--", CUES) == set()


def test_other_files_of_the_same_name_are_refused(project, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(project / "data", data)
    image = next(data.rglob("JPEGImages/*.jpg"))
    image.write_bytes(image.read_bytes() + b"more")
    options = overlay(tmp_path, pathvars=FOLDERS, run={"data": str(data)})
    status, messages = snakemake(project, "--dry-run", *options)
    assert status == 1
    line = messages.splitlines()[-1]
    assert image.stem in line and line.endswith("into another folder: set pathvars.shared")


def test_other_saliency_may_lie_beside_a_shared_classifier(project, tmp_path):
    folders = {**FOLDERS, "saliency": "{results}-maps"}
    jobs = planned(
        project, *overlay(tmp_path, pathvars=folders, saliency={"superpixels": 40}), "--", CUES
    )
    assert jobs == {"saliency", "seeds"}


def test_a_deleted_artefact_is_made_anew_with_other_settings(project, tmp_path):
    copied = shutil.copytree(project, tmp_path / "copy")
    shutil.rmtree(copied / "results/saliency")
    options = overlay(tmp_path, pathvars=FOLDERS, saliency={"superpixels": 40})
    assert planned(copied, *options, "--", CUES) == {"saliency", "seeds"}


def test_the_first_setting_that_differs_is_named():
    there, here = {"a": {"kind": "x", "b": [1]}, "c": 1}, {"a": {"kind": "x", "b": [2]}, "c": 1}
    assert first_difference(there, there, "cam") is None
    assert first_difference(there, here, "cam") == "cam.a.b [1], not [2]"
    assert first_difference({}, {"c": None, "d": "x"}, "cam") == 'cam.d null, not "x"'


def test_settings_are_read_from_recorded_params():
    params = ["'--params \\'{\"size\": 3}\\' --shard 1-of-1'", "'cam'", "{'weights': 'ab'}"]
    assert recorded_settings(params) == ({"size": 3}, {"weights": "ab"}, None)
    assert recorded_settings(["'cam'"]) == (None, None, None)
    assert recorded_settings(["'{\"train\":24}'", "'convert'"]).made_up == {"train": 24}
