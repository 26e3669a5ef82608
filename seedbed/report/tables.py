"""The tables of a run, brought to what a page shows: quality by step, time and memory by rule."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed.formats.tables import read_tsv
from seedbed.report.charts import number
from seedbed.runtime.errors import UserError

IOU = "iou "
FIGURES = ("miou", "precision", "recall", "coverage")


@dataclass(frozen=True)
class StepQuality:
    """Figures of a step on a list of images, fractions; None where undefined."""

    name: str
    images: str
    miou: float | None
    precision: float | None
    recall: float | None
    coverage: float | None
    iou: dict[str, float | None]


def quality_by_list(rows: Iterable[Mapping[str, str]]) -> dict[str, list[StepQuality]]:
    """The steps of the audit's table by list: what comes before the rounds, then round by round."""
    lists: dict[str, list[StepQuality]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row.get("round") or -1)):
        figures = {name: number(row.get(name)) for name in FIGURES}
        iou = {key.removeprefix(IOU): number(row[key]) for key in row if key.startswith(IOU)}
        round_ = f"round {row['round']}: " if row.get("round") else ""
        lists[row["list"]].append(
            StepQuality(round_ + row["step"], row["images"], iou=iou, **figures)
        )
    return dict(lists)


def read_metrics(path: Path) -> dict[str, Any]:
    """The final figures as `metrics.json` holds them; raises UserError if it is no such file."""
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        return {name: figures[name] for name in ("miou", "iou", "split", "images", "variant")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"cannot read the figures {path}: {error}; remake them") from error


@dataclass(frozen=True)
class RuleCost:
    """What the jobs of a rule took: seconds of all, of the longest, and the most memory."""

    rule: str
    jobs: int
    seconds: float
    longest: float
    megabytes: float


def rule_costs(folder: Path) -> list[RuleCost]:
    """Snakemake's benchmark files under a folder, `{rule}.tsv` or `{rule}/….tsv`, by rule.

    Where a rule was run in shards, those of another number of shards than the newest file's are
    left over from another run and do not count.
    """
    files: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*.tsv")):
        files[path.relative_to(folder).parts[0].removesuffix(".tsv")].append(path)
    costs = (_cost(rule, _of_newest_shards(paths)) for rule, paths in files.items())
    return [cost for cost in costs if cost.jobs]


def _of_newest_shards(paths: list[Path]) -> list[Path]:
    newest = _shards(max(paths, key=lambda path: (path.stat().st_mtime_ns, path)))
    return [path for path in paths if _shards(path) == newest]


def _shards(path: Path) -> str | None:
    match = re.search(r"\d+-of-(\d+)$", path.stem)
    return match[1] if match else None


def _cost(rule: str, paths: list[Path]) -> RuleCost:
    """A rule's costs; of a job that was measured several times the last row counts."""
    rows = [rows[-1] for path in paths if (rows := read_tsv(path))]
    seconds = [number(row.get("s")) or 0.0 for row in rows]
    memory = [number(row.get("max_rss")) or 0.0 for row in rows]
    return RuleCost(
        rule, len(rows), sum(seconds), max(seconds, default=0.0), max(memory, default=0.0)
    )
