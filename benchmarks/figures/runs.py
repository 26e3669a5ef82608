"""The runs that the figures come from, made by Snakemake one after the other."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from seedbed.formats.tables import write_json
from seedbed.report.environment import device_name
from seedbed.runtime.devices import kind_of_device
from seedbed.runtime.errors import UserError

# The config files of each run, in the order in which Snakemake lays them over each other.
EXPERIMENTS = {
    "default": ("config.yaml",),
    "ceiling": ("config.yaml", "recipes/ceiling.yaml"),
    "shuffled-tags": ("config.yaml", "recipes/shuffled-tags.yaml"),
}
TARGETS = ("miou.txt", "quality.tsv")
RECORD = "figures.json"  # in the folder of a run: what made it
# Git's pathspecs of all but the pages: figures are written into these, and do not depend on them.
NOT_PAGES = (".", ":(exclude)README.md", ":(exclude)docs")


def run_folder(results: Path, experiment: str, seed: int) -> Path:
    """The folder that a run writes to."""
    return results / f"mini-{seed}" / experiment


def make_all(
    results: Path, seeds: Sequence[int], *, cores: str, overlays: Sequence[Path], command: str
) -> None:
    """Make every experiment on every data set; what is up to date is not made again.

    Args:
        results: the folder of all runs.
        seeds: generator seeds of the data sets.
        cores: as of snakemake.
        overlays: config files laid over those of each experiment.
        command: the user's command, to be recorded.

    Raises:
        UserError: at the first run that fails.

    """
    record = {
        "command": command,
        "commit": current_commit(),
        "machine": device_name(kind_of_device("auto")),
    }
    for seed in seeds:
        for experiment in EXPERIMENTS:
            folder = run_folder(results, experiment, seed)
            make_run(folder, snakemake_command(experiment, seed, folder, cores, overlays), record)


def make_run(folder: Path, command: Sequence[str], record: dict[str, str]) -> None:
    """Make a run, and record what made it if its scores were written anew."""
    before = written_at(folder)
    print(f"{folder}: {' '.join(command)}", file=sys.stderr, flush=True)
    status = subprocess.run(command, check=False).returncode
    if status:
        raise UserError(
            f"{folder}: snakemake ended with status {status}, see above; after that is corrected, "
            "the same command continues"
        )
    if before != written_at(folder) or not (folder / RECORD).exists():
        write_json(folder / RECORD, record)


def snakemake_command(
    experiment: str, seed: int, folder: Path, cores: str, overlays: Sequence[Path]
) -> list[str]:
    """The command that makes a run on the data set of a generator seed."""
    devkit = {
        "devkit": f"mini-{seed}/VOCdevkit/VOC2012",
        "sbd": f"mini-{seed}/benchmark_RELEASE/dataset",
    }
    pathvars = {"results": folder.as_posix()}
    return [
        *(sys.executable, "-m", "snakemake", "--cores", cores),
        *("--configfile", *EXPERIMENTS[experiment], *map(str, overlays)),
        *("--config", f"pathvars={json.dumps(pathvars)}", f"convert={json.dumps(devkit)}", "--"),
        *((folder / target).as_posix() for target in TARGETS),
    ]


def written_at(folder: Path) -> list[int]:
    """When the scores of a run were written, in nanoseconds; an empty list before that."""
    return [(folder / name).stat().st_mtime_ns for name in TARGETS if (folder / name).exists()]


def current_commit() -> str:
    """The commit that is checked out, and whether tracked files beside the pages differ from it."""
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no", "--", *NOT_PAGES)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit} with changes" if changes else commit


def _git(*arguments: str) -> str:
    ended = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return ended.stdout.strip()
