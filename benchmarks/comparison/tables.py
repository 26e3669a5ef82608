"""The tables of docs/comparison.md, from the figures of docs/comparison.tsv."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from benchmarks.comparison.figures import Figures, update
from benchmarks.comparison.runs import CEILING, SALIENCIES, Project
from benchmarks.figures.pages import filled
from benchmarks.figures.text import listed, mean_of, number, paragraph, table
from seedbed.formats.tables import write_text

PAGE = Path("docs/comparison.md")
FIGURES = PAGE.with_suffix(".tsv")
NAMES = {
    "chain": "the chain of `voc-animals`",
    CEILING: "ground-truth masks",
    "dsrg": "DSRG",
    "dsrg-tf": "DSRG, TensorFlow port",
    "group-wsss": "Group-WSSS",
    "spsm": "SPSM",
    "psa": "PSA",
}
# The columns of the page that are scores, by those of the figures.
BEFORE = {
    "train: cam": "CAM",
    "train: seeds": "seeds",
    "train: saliency × tags": "control",
    "train: saliency × tags + crf": "control, CRF",
    "train: pseudo_labels": "pseudo labels",
    "train: pseudo_labels + crf": "pseudo labels, CRF",
}
BOUNDED = "val: last round + crf"  # what the shares of the upper bound are of
LAST = {
    "train: last round": "last round",
    "train: last round + crf": "last round, CRF",
    "val: last round": "val: last round",
    BOUNDED: "val: last round, CRF",
}
HEADER = ("system", "saliency", *BEFORE.values(), *LAST.values(), "of ceiling", "minutes", "GB")


def write_page(root: Path, project: Project) -> None:
    """Add the finished runs to the figures, and write the tables into the page."""
    figures = update(root / FIGURES, project)
    page = root / PAGE
    blocks = {"final-scores": final_scores(figures), "comparison": all_scores(figures)}
    write_text(page, filled(page.read_text(encoding="utf-8"), blocks, PAGE.name))


def final_scores(figures: Sequence[Figures]) -> str:
    """The last score on val and the minutes of each system, the best first, the bound last."""
    scores: dict[str, list[float | None]] = {}
    minutes: dict[str, list[str]] = {}
    for runs in grouped(figures):
        system, saliency = runs[0]["system"], runs[0]["saliency"]
        column = int(saliency == SALIENCIES[1])
        means = scores.setdefault(system, [None, None])
        means[column] = fmean(values(runs, BOUNDED))
        minutes.setdefault(system, ["", ""])[column] = minutes_of(runs[0])
    best_first = sorted(
        scores,
        key=lambda system: (system == CEILING, -max(filter(None, scores[system]))),
    )
    rows = [
        [NAMES[system], *map(number, scores[system]), ", ".join(filter(None, minutes[system]))]
        for system in best_first
    ]
    return table(("system", "without learned saliency", "with U²-Net", "minutes"), rows)


def all_scores(figures: Sequence[Figures]) -> str:
    """Where the figures are from, and a row for each system and saliency."""
    bound = next((value(run, BOUNDED) for run in figures if run["system"] == CEILING), None)
    rows = [row(runs, bound) for runs in grouped(figures)]
    lists, commits, commands = (
        listed(f"`{text}`" for text in different(figures, column))
        for column in ("train list", "commit", "command")
    )
    about = (
        f"Train scores are those of the list {lists}; void counts as an error. A single number is "
        "one run; a mean over random seeds of the last round has its values in brackets. "
        f"Commit {commits}, {commands}, on {listed(different(figures, 'machine'))}."
    )
    return "\n\n".join([paragraph(about), table(HEADER, rows)])


def row(runs: Sequence[Figures], bound: float | None) -> list[str]:
    """The cells of a system: of its first run, and of the last round the mean over all."""
    first = runs[0]
    last = {column: values(runs, column) for column in LAST}
    shares = [score / bound for score in last[BOUNDED]] if bound else []
    megabytes = value(first, "megabytes")
    return [
        NAMES[first["system"]],
        first["saliency"],
        *(number(value(first, column)) for column in BEFORE),
        *map(mean_of, last.values()),
        mean_of(shares),
        minutes_of(first),
        number(megabytes and megabytes / 1000, 1),
    ]


def grouped(figures: Sequence[Figures]) -> list[list[Figures]]:
    """The runs of each system and saliency, which differ in the seed of the last round."""
    groups = itertools.groupby(figures, lambda run: (run["system"], run["saliency"]))
    return [list(runs) for _, runs in groups]


def minutes_of(run: Figures) -> str:
    """The time of all jobs of a run, in minutes; empty where it is not known."""
    seconds = value(run, "seconds")
    return number(seconds and seconds / 60, 0)


def value(run: Figures, column: str) -> float | None:
    """A figure of a run; None where it has none."""
    return float(run[column]) if run[column] else None


def values(runs: Sequence[Figures], column: str) -> list[float]:
    """A figure of those runs that have it."""
    return [score for run in runs if (score := value(run, column)) is not None]


def different(figures: Sequence[Figures], column: str) -> list[str]:
    """The texts of a column, each once."""
    return list(dict.fromkeys(run[column] for run in figures))
