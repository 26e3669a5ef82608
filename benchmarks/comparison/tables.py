"""The table of docs/comparison.md, from the runs that are finished."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.comparison.runs import (
    CEILING,
    SALIENCIES,
    SYSTEMS,
    WITHOUT_SALIENCY,
    Experiment,
    Project,
    experiments_of,
)
from benchmarks.figures.pages import filled
from benchmarks.figures.runs import RECORD, written_at
from benchmarks.figures.text import listed, mean_of, number, paragraph, table
from seedbed.formats.tables import write_text
from seedbed.report.comparison import Chain, Run, chains, train_list
from seedbed.runtime.errors import UserError
from stages.compare import read_folder

PAGE = Path("docs/comparison.md")
NAMES = {
    "chain": "the chain of `voc-animals`",
    CEILING: "ground-truth masks",
    "dsrg": "DSRG",
    "dsrg-tf": "DSRG, TensorFlow port",
    "group-wsss": "Group-WSSS",
    "spsm": "SPSM",
    "psa": "PSA",
}
HEADER = (
    *("system", "saliency", "CAM", "seeds", "control", "control, CRF"),
    *("pseudo labels", "pseudo labels, CRF", "last round", "last round, CRF"),
    *("val: last round", "val: last round, CRF", "of ceiling", "minutes", "GB"),
)


def write_page(root: Path, project: Project) -> None:
    """Write the table into the page; UserError if no run is finished."""
    page = root / PAGE
    text = filled(page.read_text(encoding="utf-8"), {"comparison": block(project)}, PAGE.name)
    write_text(page, text)


def block(project: Project) -> str:
    """Where the figures are from, and a row for each system and saliency."""
    experiments = experiments_of(SYSTEMS, SALIENCIES)
    found = [(e, runs) for e in experiments if (runs := read_runs(project.results(e)))]
    if not found:
        raise UserError(f"{project.root} has no finished run of the comparison: make some")
    every = [run for _, runs in found for run in runs]
    folders = [Path(run.name) for run in every]
    ceiling = next((runs[0] for e, runs in found if e.system == CEILING), None)
    rows = [row(experiment, runs, every, ceiling) for experiment, runs in found]
    about = (
        f"Train scores are those of the list `{train_list(every)}`; void counts as an error. "
        "A single number is one run; a mean over random seeds of the last round has its values in "
        f"brackets. {provenance(folders)}"
    )
    return "\n\n".join([paragraph(about), table(HEADER, rows)])


def read_runs(folder: Path) -> list[Run]:
    """The finished run in a folder, and those with other seeds beside it.

    These repeat the run's last round. If the run has been made again since, they do not count.
    """
    made = max(written_at(folder), default=0)
    beside = sorted(folder.parent.glob(f"{folder.name}-seed-[0-9]*"))
    seeds = [path for path in beside if max(written_at(path), default=0) >= made]
    runs = [read_folder(path) for path in (folder, *seeds)]
    return [run for run in runs if run and run.last_round("val") is not None]


def row(
    experiment: Experiment, runs: Sequence[Run], every: Sequence[Run], ceiling: Run | None
) -> list[str]:
    """The cells of a system: of its first run, and of the last round the mean over all."""
    by_name = {chain.run.name: chain for chain in chains(every, ceiling)}
    ours = [by_name[run.name] for run in runs]
    saliency = "none" if experiment.system in WITHOUT_SALIENCY else experiment.saliency
    return [
        *(NAMES[experiment.system], saliency),
        *(number(v) for part, v in ours[0].train.items() if not part.startswith("last round")),
        *last_rounds(ours),
        mean_cell(ours, lambda chain: chain.ceiling),
        number(runs[0].seconds and runs[0].seconds / 60, 0),
        number(runs[0].megabytes and runs[0].megabytes / 1000, 1),
    ]


def last_rounds(ours: Sequence[Chain]) -> Iterator[str]:
    """The last round's scores, on train and then on val."""
    for part in ("last round", "last round + crf"):
        yield mean_cell(ours, lambda chain, part=part: chain.train[part])
    for part in ("last round", "last round + crf"):
        yield mean_cell(ours, lambda chain, part=part: chain.val[part])


def mean_cell(ours: Sequence[Chain], value: Callable[[Chain], float | None]) -> str:
    """The mean over the runs that have the value, and in brackets the values."""
    return mean_of([found for chain in ours if (found := value(chain)) is not None])


def provenance(folders: Sequence[Path]) -> str:
    """Which commits gave the figures, by which commands, on which machines."""
    paths = [folder / RECORD for folder in folders]
    records = [json.loads(path.read_text("utf-8")) for path in paths if path.exists()]
    commits, commands, machines = (
        list(dict.fromkeys(record[key] for record in records))
        for key in ("commit", "command", "machine")
    )
    return (
        f"Commit {listed(f'`{commit}`' for commit in commits)}, "
        f"{listed(f'`{command}`' for command in commands)}, on {listed(machines)}."
    )
