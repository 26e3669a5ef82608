"""The rows of all topics, and the table that they make."""

from collections.abc import Mapping, Sequence
from importlib import import_module

from benchmarks.gpu.rows import Outcome, Row, Setup

# In the order of what is most wanted, should time run out.
TOPICS = ("equality", "step", "crf", "determinism", "memory", "prediction", "chain", "networks")


def rows_of(topics: Sequence[str] = TOPICS) -> list[Row]:
    """The rows of some topics, in order; of one that cannot be imported, a row that says why."""
    return [row for topic in topics for row in _rows(topic)]


def _rows(topic: str) -> Sequence[Row]:
    try:
        return import_module(f"benchmarks.gpu.{topic}").ROWS
    except ImportError as error:
        missing = error

        def work(setup: Setup) -> Outcome:
            raise missing

        return [Row(f"{topic}: all rows", "", work)]


def line(row: Row, found: Mapping[str, object] | None) -> str:
    """A line of the Markdown table."""
    if found is None:
        return f"| {row.name} | not run | {row.goal} | no | |"
    verdict = {True: "yes", False: "no", None: ""}[found["ok"]]
    if found.get("failed"):
        verdict = "failed"
    return f"| {row.name} | {found['text']} | {row.goal} | {verdict} | {found['seconds']:.1f} |"


HEADING = "| what | found | goal | reached | s |\n|---|---|---|---|---|"


def shortfalls(rows: Sequence[Row], found: Mapping[str, Mapping[str, object]]) -> list[str]:
    """What failed, was not run, or missed its goal, a line each."""
    lines = []
    for row in rows:
        result = found.get(row.name)
        if result is None:
            lines.append(f"- {row.name}: not run")
        elif result["ok"] is False:
            goal = f" (goal: {row.goal})" if row.goal else ""
            lines.append(f"- {row.name}: {result['text']}{goal}")
    return lines
