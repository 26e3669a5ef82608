"""Several runs side by side: a row of figures for each."""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed.evaluation.chain import REFINED
from seedbed.evaluation.lists import HELD_OUT
from seedbed.formats.tables import read_tsv
from seedbed.report.tables import (
    IOU_PREFIX,
    RuleCost,
    StepQuality,
    quality_by_list,
    read_metrics,
    rule_costs,
)

# Steps of train images, as the audit calls them, that come before the rounds.
PARTS = (
    *("cam", "seeds", "saliency × tags", f"saliency × tags{REFINED}"),
    *("pseudo_labels", f"pseudo_labels{REFINED}"),
)
ROUND = re.compile(r"round (\d+): predictions")


@dataclass(frozen=True)
class Run:
    """A run's final figures, quality of its steps by list, and cost of its rules."""

    name: str
    metrics: dict[str, Any]
    quality: dict[str, list[StepQuality]]
    costs: list[RuleCost]

    @property
    def seconds(self) -> float | None:
        """Total time of all jobs; None if it was not measured."""
        return sum(cost.seconds for cost in self.costs) if self.costs else None

    @property
    def megabytes(self) -> float | None:
        """Peak memory of the largest job; None if it was not measured."""
        return max((cost.megabytes for cost in self.costs), default=None)

    def step(self, list_name: str, name: str) -> StepQuality | None:
        """Quality of a step on a list; None where this run has none."""
        return next((s for s in self.quality.get(list_name, []) if s.name == name), None)

    def miou(self, list_name: str, step: str) -> float | None:
        """Mean IoU of a step on a list; None where this run has none."""
        quality = self.step(list_name, step)
        return quality.miou if quality else None

    def last_round(self, list_name: str, ending: str = "") -> float | None:
        """Mean IoU of the last round's predictions on a list; `ending` follows the step's name."""
        numbers = [m[1] for s in self.quality.get(list_name, []) if (m := ROUND.match(s.name))]
        last = max(map(int, numbers), default=None)
        return self.miou(list_name, f"round {last}: predictions{ending}")


def read_run(
    name: str, *, metrics: Path, quality: Path, benchmarks: Path, elsewhere: Sequence[Path] = ()
) -> Run | None:
    """Read the files of a run that exist; None if it has neither figures nor quality table.

    `elsewhere` are the benchmark files of steps that the run shares with others (`rule_costs`).
    Unless all of them are there, the cost of the run is unknown.
    """
    if not metrics.exists() and not quality.exists():
        return None
    measured = benchmarks.exists() and all(path.exists() for path in elsewhere)
    return Run(
        name,
        read_metrics(metrics) if metrics.exists() else {},
        quality_by_list(read_tsv(quality)) if quality.exists() else {},
        rule_costs(benchmarks, elsewhere) if measured else [],
    )


@dataclass(frozen=True)
class Chain:
    """What each part of the chain is worth in a run: mean IoU; None where a run lacks the part.

    `ceiling` is the share that the last value on val is of the same value of another run.
    """

    run: Run
    train: dict[str, float | None]
    val: dict[str, float | None]
    ceiling: float | None


def train_list(runs: Sequence[Run]) -> str:
    """The list that train scores are from: the images held out from tuning, if all have them."""
    return HELD_OUT if all(HELD_OUT in run.quality for run in runs) else "train"


def chains(runs: Sequence[Run], ceiling: Run | None = None) -> list[Chain]:
    """The chain of every run, with its share of the run `ceiling`."""
    listed = train_list(runs)
    bound = ceiling.last_round("val", REFINED) if ceiling else None
    rows = []
    for run in runs:
        before = {part: run.miou(listed, part) for part in PARTS}
        after = run.last_round("val", REFINED)
        share = after / bound if after is not None and bound else None
        rows.append(Chain(run, before | _last(run, listed), _last(run, "val"), share))
    return rows


def _last(run: Run, list_name: str) -> dict[str, float | None]:
    endings = ("", REFINED)
    return {f"last round{ending}": run.last_round(list_name, ending) for ending in endings}


def classes_of(runs: Sequence[Run]) -> list[str]:
    """The classes of all runs, in order of first appearance."""
    return _unique(run.metrics.get("iou", {}) for run in runs)


def steps_of(runs: Sequence[Run]) -> dict[str, list[str]]:
    """The steps of all runs by list, in order of first appearance."""
    return {
        name: _unique([step.name for step in run.quality.get(name, [])] for run in runs)
        for name in _unique(run.quality for run in runs)
    }


def _unique(groups: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(itertools.chain.from_iterable(groups)))


def as_rows(runs: Sequence[Run], ceiling: Run | None = None) -> list[dict[str, object]]:
    """A row for each run, all with the same columns; None where a run lacks a figure."""
    classes, steps = classes_of(runs), steps_of(runs)
    return [
        {
            "run": run.name,
            **{name: run.metrics.get(name) for name in ("split", "images", "variant", "miou")},
            "seconds": run.seconds,
            "max_rss": run.megabytes,
            "ceiling": chain.ceiling,
            **{IOU_PREFIX + name: run.metrics.get("iou", {}).get(name) for name in classes},
            **{f"{name}: {step}": run.miou(name, step) for name in steps for step in steps[name]},
        }
        for run, chain in zip(runs, chains(runs, ceiling), strict=True)
    ]
