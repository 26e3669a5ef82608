"""One page and one table over several runs: python -m stages.compare results results/*."""

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
    runs: Annotated[list[Path], "folders of runs; what is none is passed over"],
    page: Annotated[Path, "to write: the page"] = Path("results/compare.html"),
    table: Annotated[Path, "to write: a row a run"] = Path("results/compare.tsv"),
) -> None:
    """Write mIoU of runs and of their steps, IoU of each class, time and memory side by side."""
    folders: dict[Path, Path] = {}  # each once, as it is first named
    for folder in runs:
        folders.setdefault(folder.resolve(), folder)
    files = {"metrics": "metrics.json", "quality": "quality.tsv", "benchmarks": "benchmarks"}
    read = [
        read_run(folder.as_posix(), **{key: folder / name for key, name in files.items()})
        for folder in folders.values()
    ]
    if not (found := [run for run in read if run]):
        given = ", ".join(map(str, runs)) or "nothing"
        raise UserError(f"no metrics.json or quality.tsv in {given}: name folders of finished runs")
    write_tsv(table, as_rows(found))
    write_text(
        page,
        render("compare.html.j2", runs=found, classes=classes_of(found), steps=steps_of(found)),
    )


if __name__ == "__main__":
    run_stage(compare, ["--runs", *sys.argv[1:]])
