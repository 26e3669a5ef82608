"""The runs of the comparison, made by Snakemake one after the other."""

import json
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from benchmarks.figures.runs import RECORD, TARGETS, current_commit, make_run
from seedbed.formats.tables import read_tsv, write_text, write_tsv
from seedbed.report.environment import device_name
from seedbed.runtime.atomic import atomic_folder
from seedbed.runtime.devices import kind_of_device
from seedbed.runtime.errors import UserError
from stages.settings import DEFAULT_KINDS, Settings, combine, parse_config
from stages.settings.layers import folders_of
from stages.settings.yaml_file import read_yaml

BASE = "voc-animals"
CEILING = "ceiling"
# The chain of the base recipe, the systems as overlays over it, and the base's upper bound.
SYSTEMS = ("chain", CEILING, "dsrg", "dsrg-tf", "group-wsss", "spsm", "psa")
WITHOUT_SALIENCY = (CEILING, "psa")  # one run is enough for these
SALIENCIES = ("training-free", "u2net")
LOG = "comparison.tsv"


@dataclass(frozen=True)
class Experiment:
    """A system with a saliency; `seed` is another random seed of its last round, if any."""

    system: str
    saliency: str
    seed: int | None = None

    @property
    def recipes(self) -> list[str]:
        """The recipes, in the order in which they are laid over one another."""
        overlays = [self.saliency] if self.saliency != SALIENCIES[0] else []
        overlays += [self.system] if self.system != "chain" else []
        return [f"recipes/{name}.yaml" for name in (BASE, *(f"{BASE}-{o}" for o in overlays))]


def experiments_of(systems: Sequence[str], saliencies: Sequence[str]) -> list[Experiment]:
    """The runs in their order: all with each saliency, but once where it would change nothing.

    Raises:
        UserError: if none is left.

    """
    experiments = [
        Experiment(system, saliency)
        for saliency in saliencies
        for system in systems
        if system not in WITHOUT_SALIENCY or saliency == SALIENCIES[0]
    ]
    if not experiments:
        raise UserError(
            f"--systems {' '.join(systems)}: no saliency is used, so there is nothing to run with"
            f" {' '.join(saliencies)}; add --saliencies {SALIENCIES[0]}"
        )
    return experiments


@dataclass(frozen=True)
class Project:
    """Where and how the runs are made.

    Attributes:
        data: the folder run.data.
        cores: as of snakemake.
        overlays: config files laid over every run.
        folder: what the names of all results folders are put below; empty: nothing.
        maps: folder of maps of the learned saliency, in `data`, instead of its model; empty: none.

    """

    data: str
    cores: str
    overlays: tuple[Path, ...] = ()
    folder: str = ""
    maps: str = ""

    @property
    def moved(self) -> dict[str, str]:
        """Pathvars that put all results below `folder`."""
        names = ("results", "shared", "saliency")
        return {name: f"{self.folder}/{{{name}}}" for name in names} if self.folder else {}

    @property
    def recorded_command(self) -> str:
        """The command of the comparison, with those options alone that change figures."""
        overlays = ["--overlay", *map(str, self.overlays)] if self.overlays else []
        maps = ["--maps", self.maps] if self.maps else []
        return shlex.join(["python", "-m", "benchmarks.comparison", *overlays, *maps])

    @cached_property
    def root(self) -> Path:
        """The folder of what the comparison itself writes."""
        return Path(self.folder, "results")

    def files(self, experiment: Experiment) -> list[str]:
        """The config files of a run."""
        files = [*experiment.recipes, *map(str, self.overlays)]
        if experiment.seed is not None:
            files.append(str(self.seed_file(experiment)))
        return files

    def command(self, experiment: Experiment) -> list[str]:
        """The command that makes a run."""
        pathvars = [f"pathvars={json.dumps(self.moved)}"] if self.moved else []
        learned = self.maps and experiment.saliency != SALIENCIES[0]
        saliency = {"model": "null", "maps": self.maps}
        maps = [f"saliency={json.dumps(saliency)}"] if learned else []
        return [
            *(sys.executable, "-m", "snakemake", "--cores", self.cores),
            *("--configfile", *self.files(experiment)),
            *("--config", f"run={json.dumps({'data': self.data})}", *pathvars, *maps, "--"),
            *(f"{self.results(experiment)}/{target}" for target in TARGETS),
        ]

    def config(self, experiment: Experiment) -> dict[str, Any]:
        """The config of a run, but for run.data."""
        files = [(Path(name).resolve(), read_yaml(Path(name))) for name in self.files(experiment)]
        command_line = {"pathvars": self.moved} if self.moved else {}
        return combine(files, command_line, DEFAULT_KINDS, Path.cwd())

    def settings(self, experiment: Experiment) -> Settings:
        """The settings of a run."""
        return parse_config(self.config(experiment))

    def results(self, experiment: Experiment) -> Path:
        """The folder that a run writes to."""
        return Path(self.settings(experiment).pathvars.results)

    def seed_file(self, experiment: Experiment) -> Path:
        """The config file that changes the seed of a run's last round; `write_seed` writes it."""
        name = f"{experiment.saliency}-{experiment.system}-{experiment.seed}.yaml"
        return self.root / "comparison-seeds" / name

    def write_seed(self, experiment: Experiment) -> None:
        """Write `seed_file`, and copy the run with the recipe's own seed to begin from.

        What is recorded beside the copied results tells Snakemake that only the last round has
        changed. The scores are not copied: until this run has its own, it has none.
        """
        original = Experiment(experiment.system, experiment.saliency)
        unmoved = Project(self.data, self.cores, self.overlays)
        overlay = seed_overlay(unmoved.config(original), experiment.seed)
        write_text(self.seed_file(experiment), yaml.safe_dump(overlay, sort_keys=False))
        source, target = self.results(original), self.results(experiment)
        if not source.is_dir():
            raise UserError(f"{source}: make this run before others with seeds of their own")
        if not target.exists():
            with atomic_folder(target) as folder:  # a copy cut short would pass for the whole
                ignored = shutil.ignore_patterns(*TARGETS, RECORD)
                shutil.copytree(source, folder, ignore=ignored, dirs_exist_ok=True)


def seed_overlay(config: dict[str, Any], seed: int) -> dict[str, Any]:
    """What lies over a config for another seed of the last round, in a folder beside the run's."""
    folders = folders_of(config["pathvars"])
    own = [name for name, folder in folders.items() if folder == folders["results"]]
    *before, last = config["rounds"]
    return {
        "pathvars": dict.fromkeys(own, f"{{results}}-seed-{seed}"),
        "rounds": [*before, {**last, "seed": seed}],
    }


def make_all(project: Project, experiments: Sequence[Experiment], seeds: Sequence[int]) -> None:
    """Make all runs, then those with other seeds; UserError at the end if some have failed."""
    record = {
        "command": project.recorded_command,
        "commit": current_commit(),
        "machine": device_name(kind_of_device("auto")),
    }
    again = [Experiment(e.system, e.saliency, seed) for seed in seeds for e in experiments]
    failed = [
        str(folder)
        for experiment in (*experiments, *again)
        if not make(project, experiment, record, folder := _folder(project, experiment))
    ]
    if failed:
        raise UserError(f"{', '.join(failed)}: not finished, see above; the same command goes on")


def make(project: Project, experiment: Experiment, record: dict[str, str], folder: Path) -> bool:
    """Make a run and log its minutes; whether it has succeeded."""
    begin, status = time.monotonic(), "finished"
    try:
        make_run(folder, project.command(experiment), record)
    except UserError as error:
        print(error, file=sys.stderr, flush=True)
        status = "failed"
    minutes = (time.monotonic() - begin) / 60
    row = {
        "ended": time.strftime("%Y-%m-%d %H:%M:%S"),
        "run": folder.as_posix(),
        "minutes": f"{minutes:.1f}",
        "status": status,
    }
    log, rows = project.root / LOG, []
    with suppress(UserError, OSError):
        rows = read_tsv(log)
    write_tsv(log, [*rows, row])
    return status == "finished"


def _folder(project: Project, experiment: Experiment) -> Path:
    if experiment.seed is not None:
        project.write_seed(experiment)
    return project.results(experiment)
