"""The figures of the comparison's runs, kept in docs/comparison.tsv.

A row has the scores, time and memory of a run, and what made it. Rows of runs that are not in the
results folders stay, so that the runs can be made on several days and machines.
"""

import json
from pathlib import Path

from benchmarks.comparison.runs import (
    SALIENCIES,
    SYSTEMS,
    WITHOUT_SALIENCY,
    Experiment,
    Project,
    experiments_of,
)
from benchmarks.figures.runs import RECORD, written_at
from seedbed.formats.tables import read_tsv, write_tsv
from seedbed.report.comparison import Run, chains, train_list
from seedbed.runtime.errors import UserError
from stages.compare import read_folder

Figures = dict[str, str]  # a row of the table; a cell is empty where a run lacks the figure


def update(path: Path, project: Project) -> list[Figures]:
    """Write the figures of all finished runs into the table, and return all its rows.

    The rows of a finished run replace those of the same system and saliency, with all their seeds.

    Raises:
        UserError: if no run is finished.

    """
    experiments = {key(e): e for e in experiments_of(SYSTEMS, SALIENCIES)}
    rows: dict[tuple[str, str], list[dict[str, object]]] = {}
    for row in read_tsv(path) if path.exists() else []:
        rows.setdefault((row["system"], row["saliency"]), []).append(row)
    found = {
        name: [figures(experiment, seed, run) for seed, run in runs.items()]
        for name, experiment in experiments.items()
        if (runs := read_runs(project.results(experiment)))
    }
    if not found:
        raise UserError(f"{project.root} has no finished run of the comparison: make some")
    rows |= found
    write_tsv(path, [row for name in experiments for row in rows.get(name, [])])
    return read_tsv(path)


def key(experiment: Experiment) -> tuple[str, str]:
    """System and saliency as the table names them."""
    used = experiment.system not in WITHOUT_SALIENCY
    return experiment.system, experiment.saliency if used else "none"


def read_runs(folder: Path) -> dict[int | None, Run]:
    """The finished run in a folder (None), and those with other seeds beside it, by seed.

    These repeat the run's last round. If the run has been made again since, they do not count.
    """
    made = max(written_at(folder), default=0)
    folders: dict[int | None, Path] = {None: folder}
    for path in sorted(folder.parent.glob(f"{folder.name}-seed-[0-9]*")):
        if max(written_at(path), default=0) >= made:
            folders[int(path.name.rpartition("-")[2])] = path
    runs = {seed: read_folder(path) for seed, path in folders.items()}
    finished = {s: run for s, run in runs.items() if run and run.last_round("val") is not None}
    return finished if None in finished else {}


def figures(experiment: Experiment, seed: int | None, run: Run) -> dict[str, object]:
    """The row of a run; `seed` is that of its last round, None the recipe's own."""
    record_file = Path(run.name, RECORD)
    record = json.loads(record_file.read_text("utf-8")) if record_file.exists() else {}
    (chain,) = chains([run])
    system, saliency = key(experiment)
    return {
        "system": system,
        "saliency": saliency,
        "seed": seed,
        **{name: record.get(name, "unknown") for name in ("commit", "command", "machine")},
        "seconds": run.seconds,
        "megabytes": run.megabytes,
        "train list": train_list([run]),
        **{f"train: {part}": score for part, score in chain.train.items()},
        **{f"val: {part}": score for part, score in chain.val.items()},
    }
