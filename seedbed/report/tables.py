"""The tables of a run as the page shows them: quality by step, time and memory by rule."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedbed.formats.tables import read_tsv
from seedbed.report.charts import finite_number
from seedbed.runtime.errors import UserError

IOU_PREFIX = "iou "
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
    """The steps of quality.tsv by list: those before the rounds, then round by round."""
    lists: dict[str, list[StepQuality]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row.get("round") or -1)):
        lists[row["list"]].append(_step_quality(row))
    return dict(lists)


def _step_quality(row: Mapping[str, str]) -> StepQuality:
    figures = {name: finite_number(row.get(name)) for name in FIGURES}
    iou_columns = [column for column in row if column.startswith(IOU_PREFIX)]
    iou = {c.removeprefix(IOU_PREFIX): finite_number(row[c]) for c in iou_columns}
    prefix = f"round {row['round']}: " if row.get("round") else ""
    return StepQuality(prefix + row["step"], row["images"], iou=iou, **figures)


def read_metrics(path: Path) -> dict[str, Any]:
    """The final figures in metrics.json; UserError if the file cannot be read or lacks them."""
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
        return {name: figures[name] for name in ("miou", "iou", "split", "images", "variant")}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"cannot read the figures {path}: {error}; remake them") from error


@dataclass(frozen=True)
class RuleCost:
    """Cost of a rule's jobs: total and longest time in seconds, peak memory in MB."""

    rule: str
    jobs: int
    seconds: float
    longest: float
    megabytes: float


def rule_costs(folder: Path | None, elsewhere: Iterable[Path] = ()) -> list[RuleCost]:
    """Cost by rule, from Snakemake's benchmark files `{rule}.tsv` and `{rule}/….tsv` in a folder.

    `elsewhere` are such files, and such folders, of single rules in other places; they replace
    those of the same rule in the folder. Of a rule in shards, only the files with the newest file's
    number of shards count: others are left over from a run with another number.
    """
    own = folder.iterdir() if folder and folder.is_dir() else ()
    places = {path.name.removesuffix(".tsv"): path for path in (*own, *elsewhere)}
    files = {rule: _benchmark_files(places[rule]) for rule in sorted(places)}
    costs = (_rule_cost(rule, _of_newest_run(paths)) for rule, paths in files.items() if paths)
    return [cost for cost in costs if cost.jobs]


def _benchmark_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.rglob("*.tsv"))
    return [path] if path.suffix == ".tsv" and path.exists() else []


def _of_newest_run(paths: Sequence[Path]) -> list[Path]:
    shards = _shards(max(paths, key=lambda path: (path.stat().st_mtime_ns, path)))
    return [path for path in paths if _shards(path) == shards]


def _shards(path: Path) -> str | None:
    match = re.search(r"\d+-of-(\d+)$", path.stem)
    return match[1] if match else None


def _rule_cost(rule: str, paths: Sequence[Path]) -> RuleCost:
    """Cost of a rule; of a job that was measured several times the last row counts."""
    rows = [rows[-1] for path in paths if (rows := read_tsv(path))]
    seconds = [finite_number(row.get("s")) or 0.0 for row in rows]
    memory = [finite_number(row.get("max_rss")) or 0.0 for row in rows]
    return RuleCost(
        rule, len(rows), sum(seconds), max(seconds, default=0.0), max(memory, default=0.0)
    )
