"""One page and one table of several runs: python -m stages.compare results results/*."""

import sys
from pathlib import Path
from typing import Annotated

from seedbed.formats.tables import write_text, write_tsv
from seedbed.report.comparison import as_rows, classes_of, read_run, steps_of
from seedbed.report.page import render
from seedbed.runtime.errors import UserError
from stages.command import run_stage


def compare(
    *,
    runs: Annotated[list[Path], "folders of runs; folders without a run are skipped"],
    page: Annotated[Path, "to write: the page"] = Path("results/compare.html"),
    table: Annotated[Path, "to write: a row for each run"] = Path("results/compare.tsv"),
) -> None:
    """Compare mIoU of runs and of their steps, IoU by class, time and memory."""
    folders: dict[Path, Path] = {}
    for folder in runs:
        folders.setdefault(folder.resolve(), folder)  # each run once, under its first name
    candidates = [
        read_run(
            folder.as_posix(),
            metrics=folder / "metrics.json",
            quality=folder / "quality.tsv",
            benchmarks=folder / "benchmarks",
        )
        for folder in folders.values()
    ]
    finished = [run for run in candidates if run]
    if not finished:
        given = ", ".join(map(str, runs)) or "nothing"
        raise UserError(f"no metrics.json or quality.tsv in {given}: name folders of finished runs")
    write_tsv(table, as_rows(finished))
    values = {"runs": finished, "classes": classes_of(finished), "steps": steps_of(finished)}
    write_text(page, render("compare.html.j2", **values))


if __name__ == "__main__":
    run_stage(compare, ["--runs", *sys.argv[1:]])
