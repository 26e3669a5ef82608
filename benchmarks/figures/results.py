"""The figures of finished runs, read from their folders."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from benchmarks.figures.runs import EXPERIMENTS, RECORD, run_folder
from seedbed.formats.tables import read_tsv
from seedbed.report.charts import finite_number
from seedbed.report.tables import RuleCost, rule_costs
from seedbed.runtime.errors import UserError


class Step(NamedTuple):
    """A row of quality.tsv; `round` is empty for the steps before the rounds."""

    list: str
    round: str
    name: str


Row = Mapping[str, float | None]


@dataclass(frozen=True)
class Run:
    """A finished run: its folder, what made it, and the rows of quality.tsv."""

    folder: Path
    record: Mapping[str, str]
    quality: Mapping[Step, Row]

    @classmethod
    def read(cls, folder: Path) -> "Run":
        """Read the files of a run; UserError if one is missing or damaged."""
        rows = read_tsv(folder / "quality.tsv")
        try:
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            steps = {Step(row["list"], row["round"], row["step"]): row for row in rows}
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{folder} is no finished run of figures: {error!r}; make it"
            ) from error
        return cls(
            folder,
            record,
            {
                step: {column: finite_number(text) for column, text in row.items()}
                for step, row in steps.items()
            },
        )

    def costs(self) -> list[RuleCost]:
        """Time and memory by rule, from Snakemake's benchmark files."""
        return rule_costs(self.folder / "benchmarks")

    def table(self, name: str) -> list[dict[str, str]]:
        """The rows of another table of the run."""
        return read_tsv(self.folder / name)


@dataclass(frozen=True)
class Results:
    """The runs of every experiment, in the order of the generator seeds."""

    seeds: Sequence[int]
    runs: Mapping[str, Sequence[Run]]

    @classmethod
    def read(cls, folder: Path, seeds: Sequence[int]) -> "Results":
        """Read all runs in a folder that `runs.make_all` has made."""
        return cls(
            seeds,
            {
                name: [Run.read(run_folder(folder, name, seed)) for seed in seeds]
                for name in EXPERIMENTS
            },
        )

    @property
    def default(self) -> Sequence[Run]:
        """The default run on each data set."""
        return self.runs["default"]

    def steps(self, experiment: str) -> list[Step]:
        """The steps of an experiment in the order of quality.tsv."""
        return list(self.runs[experiment][0].quality)

    def last_round(self, experiment: str) -> str:
        """The number of the last round."""
        return max((step.round for step in self.steps(experiment) if step.round), key=int)

    def values(self, experiment: str, step: Step, column: str) -> list[float] | None:
        """A figure of a step on each data set; None if a run lacks it."""
        found = [run.quality.get(step, {}).get(column) for run in self.runs[experiment]]
        values = [value for value in found if value is not None]
        return values if len(values) == len(found) else None

    def mean(self, experiment: str, step: Step, column: str = "miou") -> float | None:
        """The mean of a figure over the data sets; None if a run lacks it."""
        values = self.values(experiment, step, column)
        return None if values is None else fmean(values)

    def recorded(self, key: str) -> list[str]:
        """What the runs recorded under a key, each value once."""
        return list(dict.fromkeys(run.record[key] for runs in self.runs.values() for run in runs))
