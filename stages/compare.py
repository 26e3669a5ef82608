"""One page and one table of several runs: python -m stages.compare results results/*."""

import json
import sys
from pathlib import Path
from typing import Annotated

from seedbed.evaluation.chain import REFINED
from seedbed.formats.tables import write_text, write_tsv
from seedbed.report.comparison import (
    Run,
    as_rows,
    chains,
    classes_of,
    read_run,
    steps_of,
    train_list,
)
from seedbed.report.page import render
from seedbed.runtime.errors import UserError
from stages.command import run_stage


def compare(
    *,
    runs: Annotated[list[Path], "folders of runs; folders without a run are skipped"],
    page: Annotated[Path, "to write: the page"] = Path("results/compare.html"),
    table: Annotated[Path, "to write: a row for each run"] = Path("results/compare.tsv"),
    ceiling: Annotated[Path | None, "folder of the run that is trained on the truth"] = None,
) -> None:
    """Compare mIoU of runs and of their steps, IoU by class, time and memory."""
    folders: dict[Path, Path] = {}
    for folder in runs:
        folders.setdefault(folder.resolve(), folder)  # each run once, under its first name
    finished = [run for folder in folders.values() if (run := read_folder(folder))]
    if not finished:
        given = ", ".join(map(str, runs)) or "nothing"
        raise UserError(f"no metrics.json or quality.tsv in {given}: name folders of finished runs")
    bound = read_folder(ceiling) if ceiling else None
    if ceiling and (bound is None or bound.last_round("val", REFINED) is None):
        raise UserError(f"--ceiling {ceiling}: its last round has no score on val; finish that run")
    write_tsv(table, as_rows(finished, bound))
    values = {
        "runs": finished,
        "classes": classes_of(finished),
        "steps": steps_of(finished),
        "chains": chains(finished, bound),
        "train_list": train_list(finished),
    }
    write_text(page, render("compare.html.j2", **values))


def read_folder(folder: Path) -> Run | None:
    """The run in a folder, with the cost of what it shares with others; None if there is none."""
    return read_run(
        folder.as_posix(),
        metrics=folder / "metrics.json",
        quality=folder / "quality.tsv",
        benchmarks=folder / "benchmarks",
        elsewhere=shared_benchmarks(folder / "provenance.json"),
    )


def shared_benchmarks(provenance: Path) -> list[Path]:
    """Benchmark files of steps that a run shares, as the workflow has recorded them."""
    if not provenance.is_file():
        return []
    try:
        content = json.loads(provenance.read_text(encoding="utf-8"))
        return [Path(path) for path in content.get("benchmarks", [])]
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"cannot read {provenance}: {error!r}; run its recipe once more") from error


if __name__ == "__main__":
    run_stage(compare, ["--runs", *sys.argv[1:]])
