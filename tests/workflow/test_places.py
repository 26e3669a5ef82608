"""Moved data, copied results, odd folders, and users without a name."""

import getpass
import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from seedbed.runtime.errors import UserError
from tests.support import workflow_helpers
from tests.support.workflow_helpers import (
    CONFIG,
    copy_project,
    finished_run,
    planned,
    run,
    snakemake,
)
from workflow.places import colon_free, ensure_user_name, place_of

SEEDS = {"train-0", "seeds", "audit", "report"}  # some of what hangs on the seeds


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def copied(project, tmp_path) -> Path:
    """The project as `cp -r` copies it, with new times, and without .snakemake."""
    ignored = shutil.ignore_patterns(".snakemake")
    return shutil.copytree(project, tmp_path / "copy", ignore=ignored, copy_function=shutil.copy)


def overlay(folder: Path, **blocks) -> tuple[str, ...]:
    path = folder / "overlay.yaml"
    path.write_text(yaml.safe_dump(blocks))
    return "--configfile", "config.yaml", str(path)


def data_at(path: Path, **blocks) -> tuple[str, ...]:
    return overlay(path.parent, run={"data": str(path)}, **blocks)


def test_an_absolute_path_of_the_data_is_the_relative_one(project, tmp_path):
    options = overlay(tmp_path, run={"data": str(project / "data")})
    assert planned(project, *options) == set()


def test_moved_data_are_compared_once_and_remake_nothing(project, tmp_path):
    shutil.copytree(project / "data", tmp_path / "moved", copy_function=shutil.copy)
    options = data_at(tmp_path / "moved")
    status, messages = snakemake(project, "--dry-run", *options)
    assert status == 0 and "Nothing to be done" in messages
    assert "new place of the data, compared with results/dataset/index.json" in messages
    status, messages = snakemake(project, "--dry-run", *options)
    assert "Nothing to be done" in messages and "new place" not in messages
    assert planned(project) == set()


def test_other_data_at_the_new_place_are_converted_again(project, tmp_path):
    shutil.copytree(project / "data", tmp_path / "moved")
    image = next((tmp_path / "moved").rglob("JPEGImages/*.jpg"))
    image.write_bytes(image.read_bytes() + b"more")
    status, messages = snakemake(project, "--dry-run", *data_at(tmp_path / "moved"))
    assert status == 0 and f"image {image.stem} is not what results/dataset/index.json" in messages
    assert {"convert", "classifier", "train-0"} <= workflow_helpers._jobs_in(messages)
    assert planned(project) == set()  # the old place has the old data


def test_results_without_data_remake_nothing(copied):
    shutil.rmtree(copied / "data")
    assert planned(copied) == set()


def test_jobs_that_read_images_do_not_begin_without_them(copied):
    shutil.rmtree(copied / "data")
    line = r"data/mini-0/\S+\.jpg: does not exist, .* by seeds; .* with (\S+) as its only target"
    call = ("--cores", "1", "-R", "seeds", "--", "results/seeds/cues.h5")
    status, messages = snakemake(copied, *call)
    refused = re.fullmatch(line, messages.splitlines()[-1])
    assert status == 1 and refused
    assert planned(copied, refused[1]) == {"mini_dataset-0"}
    assert snakemake(copied, "--cores", "1", "-R", "evaluate", "--", "results/miou.txt")[0] == 0


def test_results_under_another_name_remake_nothing(copied):
    (copied / "results").rename(copied / "renamed")
    assert planned(copied, "--config", "pathvars={results: renamed/}") == set()


def test_folders_may_be_written_with_dots_and_a_slash_at_the_end(project, tmp_path):
    written = {"run": {"data": "./data/"}, "pathvars": {"results": "./results/"}}
    assert planned(project, *overlay(tmp_path, **written)) == set()
    fresh = copy_project(tmp_path, CONFIG)
    status, messages = snakemake(fresh, "--dry-run", "--config", "run={data: .}")
    assert status == 0 and "starts with './'" not in messages


def test_copied_results_remake_nothing_and_a_changed_setting_is_found(copied, tmp_path):
    seeds = {"grid": CONFIG["seeds"]["grid"], "background_threshold": 0.1}
    jobs = planned(copied, *overlay(tmp_path, seeds=seeds))
    assert jobs >= SEEDS and not {"convert", "classifier", "cam", "group"} & jobs
    assert planned(copied) == set()


def test_older_code_of_copied_results_is_found(copied):
    path = copied / "stages/seeds.py"
    path.write_bytes(path.read_bytes() + b"\nADDED = 1\n")
    jobs = planned(copied)
    assert jobs >= SEEDS and not {"convert", "classifier", "cam", "group"} & jobs


def test_results_without_records_are_neither_kept_nor_overwritten_in_silence(copied):
    (copied / "results/provenance.json").unlink()
    (copied / "results/notes.txt").touch()
    before = {path: path.stat().st_mtime_ns for path in (copied / "results").rglob("*.h5")}
    status, messages = snakemake(copied, "--dry-run")
    (line,) = [line for line in messages.splitlines() if ": settings and code unknown, " in line]
    assert line.startswith("results/cam/1-of-1.h5 and ") and "--touch accepts them" in line
    assert status == 0 and workflow_helpers._jobs_in(messages) >= SEEDS | {"convert", "classifier"}
    for options in ((), ("-R", "seeds")):
        status, messages = snakemake(copied, "--cores", "1", *options)
        *_, last = messages.strip().splitlines()
        assert status == 1 and re.fullmatch(r"results/\S+ and \d+ more: not overwritten, .*", last)
        assert last.endswith("; accept them with --touch, or make them anew with --forceall")
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_results_without_records_are_accepted_by_touch(copied, tmp_path):
    (copied / "results/provenance.json").unlink()
    assert snakemake(copied, "--cores", "1", "--touch")[0] == 0
    assert planned(copied) == set()
    seeds = {"grid": CONFIG["seeds"]["grid"], "background_threshold": 0.1}
    jobs = planned(copied, *overlay(tmp_path, seeds=seeds))
    assert jobs >= SEEDS and not {"convert", "classifier", "cam", "group"} & jobs


def test_of_a_single_artefact_without_record_the_job_is_planned(copied):
    (copied / "results/seeds/cues.h5").write_bytes(b"from elsewhere")
    assert planned(copied) >= SEEDS
    status, messages = snakemake(copied, "--cores", "1", "results/classifier/weights.pt")
    assert status == 0 and "Nothing to be done" in messages, "it hangs on nothing unknown"


def test_given_files_count_by_their_content(project, tmp_path):
    data = tmp_path / "data"
    for name in ("one", "two"):
        (data / name).mkdir(parents=True)
        (data / name / "a.png").write_text("map")
    shutil.copytree(project / "data/mini-0", data / "mini-0")
    jobs = planned(project, *data_at(data, saliency={"maps": "one"}))
    assert "saliency" in jobs and "convert" not in jobs


@pytest.mark.parametrize("name", ['it\'s {a} "place"', "un{closed $HOME `x` & more;"])
def test_a_project_folder_may_have_any_name(tmp_path, name):
    project = copy_project(tmp_path / name, CONFIG)
    target = "data/mini-0/VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt"
    assert (run(project, target) / target).exists()


def test_a_folder_with_a_colon_ends_in_one_line():
    with pytest.raises(UserError, match=r"^/a:b: Python and the shell find nothing in a folder"):
        colon_free(Path("/a:b"))


def test_places_inside_the_project_are_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("data", "./data", "data/", "x/../data", str(tmp_path / "data")):
        assert place_of(path) == "data"
    for path in ("/elsewhere/data", "/elsewhere/./data/"):
        assert place_of(path) == "/elsewhere/data"
    assert place_of("../data/") == "../data" and place_of("./") == "."


def test_a_user_without_an_entry_gets_a_name(monkeypatch):
    def refuse() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setenv("USER", "before")
    monkeypatch.setattr(getpass, "getuser", refuse)
    ensure_user_name()
    assert os.environ["USER"] == f"uid-{os.getuid()}"
