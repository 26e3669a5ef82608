"""A small project that is really run once, and the jobs that Snakemake plans on it."""

import contextlib
import fcntl
import functools
import json
import logging
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from snakemake.cli import main as snakemake_main
from snakemake.persistence import MetadataRecord
from snakemake.persistence.file import FilePersistence

ROOT = Path(__file__).parents[2]
PROJECT = "a project"  # a space is allowed
PARTS = ("Snakefile", "workflow", "profiles", "recipes", "stages", "seedbed")
BRIEF = {
    "iterations": 6,
    "batch": 4,
    "crop": 64,
    "learning_rate": 0.005,
    "optimizer": {"kind": "adamw"},
    "schedule": {"kind": "one_cycle"},
}
AFFINITY = {**BRIEF, "network": "vgg16_affinity", "crop": 80}  # which the small run does without
CONFIG = {
    "run": {"device": "cpu", "compute_threads": 1},
    "mini_dataset": {"train": 24, "val": 8, "size": 64},
    "convert": {
        "devkit": "mini-0/VOCdevkit/VOC2012",
        "sbd": "mini-0/benchmark_RELEASE/dataset",
    },
    "classifier": {"network": "tiny_cls", **BRIEF},
    "saliency": {"superpixels": 50},
    "seeds": {"grid": 16},
    "group": {"network": "tiny_group", **BRIEF},
    "training": {"network": "tiny_seg", **BRIEF},
    "rounds": [
        {"supervise": "seeds", "method": "dsrg", "dsrg": {"crf": {"iterations": 2}}},
        # Six iterations teach nothing: keep all images, whatever their quality.
        {"supervise": "selected", "selection": {"threshold": 0}},
    ],
    "crf": {"iterations": 2},
}
# What a recipe with PSA's random walk has beside that.
RANDOM_WALK = {
    "affinity": AFFINITY,
    "pseudo_labels": {"attention": "random_walk", "rule": "argmax"},
}


def copy_project(folder: Path, config: dict) -> Path:
    """The project with another config.yaml, in a folder of its own."""
    project = folder / PROJECT
    for name in PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, project / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            project.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, project / name)
    (project / "config.yaml").write_text(yaml.safe_dump(config))
    return project


@functools.cache
def finished_run(temporary: Path) -> Path:
    """The small project after its run from nothing: run once, and copied for each process.

    `temporary` is the process' own folder for the session; under pytest-xdist the folders of the
    workers lie side by side, and the first worker runs the project for all.
    """
    shared = temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary
    original = shared / "finished"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not original.exists():
            run(copy_project(temporary / "run", CONFIG)).parent.rename(original)
    return shutil.copytree(original, temporary / "own") / PROJECT


def run(project: Path, *targets: str, options: Sequence[str] = ()) -> Path:
    """Make everything, or some targets, as a user would."""
    call = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", *options, "--", *targets]
    ended = subprocess.run(call, cwd=project, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return project


def write_artefact(project: Path, path: str, settings: dict) -> None:
    """An empty artefact, and what Snakemake records of the job that made it with these settings."""
    with contextlib.chdir(project):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
        record = MetadataRecord(
            params=[repr(f"--params {shlex.quote(json.dumps(settings))}")],
            endtime=Path(path).stat().st_mtime,
            record_format_version=6,
        )
        FilePersistence(nolock=True)._write_record(path, record)


def snakemake(project: Path, *arguments: str) -> tuple[int, str]:
    """Exit status and messages of `snakemake` in a project, inside this process: it is faster."""
    text = project.parent / "messages.txt"
    status: int | str | None = None
    with (
        text.open("w") as stream,
        contextlib.chdir(project),
        contextlib.redirect_stdout(stream),
        contextlib.redirect_stderr(stream),
        untouched_process(),
    ):
        try:
            snakemake_main(["--nocolor", *arguments])
        except SystemExit as end:
            status = end.code
    if isinstance(status, str):  # Python would print it
        return 1, text.read_text() + status
    return status or 0, text.read_text()


@contextlib.contextmanager
def untouched_process() -> Iterator[None]:
    """Undo what Snakemake changes in its process."""
    path, environment, handlers = list(sys.path), dict(os.environ), list(logging.root.handlers)
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # A pool forked later could not end its workers: they would inherit Snakemake's handler.
        signal.signal(signal.SIGTERM, on_termination)
        sys.path[:] = path
        logging.root.handlers[:] = handlers
        os.environ.clear()
        os.environ.update(environment)


def planned(project: Path, *arguments: str) -> set[str]:
    """The jobs of a dry run but `all`, as rule-round-split-shard; the shard 1-of-1 is left out."""
    status, messages = snakemake(project, "--dry-run", *arguments)
    assert status == 0, messages
    return _jobs_in(messages)


def planned_anew(project: Path) -> set[str]:
    """As `planned`, in another process: this one has the settings' models in memory."""
    call = [sys.executable, "-m", "snakemake", "--nocolor", "--dry-run"]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    ended = subprocess.run(call, cwd=project, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return _jobs_in(ended.stdout + ended.stderr)


def _jobs_in(messages: str) -> set[str]:
    jobs = re.findall(r"^rule (\w+):\n((?:    .*\n)*)", messages, re.MULTILINE)
    named = {"-".join([rule, *_wildcards(lines)]).removesuffix("-1-of-1") for rule, lines in jobs}
    assert bool(named) != ("Nothing to be done" in messages), messages
    return named - {"all"}


def _wildcards(lines: str) -> list[str]:
    match = re.search(r"wildcards: (.*)", lines)
    return re.findall(r"=([^,]*)", match[1]) if match else []
