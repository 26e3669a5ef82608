"""Several runs side by side: a row of figures for each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from seedbed.formats.tables import read_tsv
from seedbed.report.tables import (
    IOU_PREFIX,
    RuleCost,
    StepQuality,
    quality_by_list,
    read_metrics,
    rule_costs,
)


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

    def miou(self, list_name: str, step: str) -> float | None:
        """Mean IoU of a step on a list; None where this run has none."""
        return next((s.miou for s in self.quality.get(list_name, []) if s.name == step), None)


def read_run(name: str, *, metrics: Path, quality: Path, benchmarks: Path) -> Run | None:
    """Read the files of a run that exist; None if it has neither figures nor quality table."""
    if not metrics.exists() and not quality.exists():
        return None
    return Run(
        name,
        read_metrics(metrics) if metrics.exists() else {},
        quality_by_list(read_tsv(quality)) if quality.exists() else {},
        rule_costs(benchmarks) if benchmarks.exists() else [],
    )


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
    return list(dict.fromkeys(chain.from_iterable(groups)))


def as_rows(runs: Sequence[Run]) -> list[dict[str, object]]:
    """A row for each run, all with the same columns; None where a run lacks a figure."""
    classes, steps = classes_of(runs), steps_of(runs)
    return [
        {
            "run": run.name,
            **{name: run.metrics.get(name) for name in ("split", "images", "variant", "miou")},
            "seconds": run.seconds,
            "max_rss": run.megabytes,
            **{IOU_PREFIX + name: run.metrics.get("iou", {}).get(name) for name in classes},
            **{f"{name}: {step}": run.miou(name, step) for name in steps for step in steps[name]},
        }
        for run in runs
    ]
