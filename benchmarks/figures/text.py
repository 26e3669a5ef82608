"""Numbers, paragraphs and tables as the pages write them."""

import textwrap
from collections.abc import Iterable, Sequence
from statistics import fmean

WIDTH = 118  # of the lines of a page


def number(value: float | None, digits: int = 3) -> str:
    """A number without the zero before its point: .431; empty for None."""
    if value is None:
        return ""
    text = f"{value:.{digits}f}"
    return text.removeprefix("0") if digits else text


def mean_of(values: Sequence[float] | None) -> str:
    """The mean of several values, and in brackets the values: .441 (.429 .456 .438)."""
    if not values:
        return ""
    each = " ".join(map(number, values))
    return number(fmean(values)) + (f" ({each})" if len(values) > 1 else "")


def listed(items: Iterable[object]) -> str:
    """Items as in a sentence: a, b and c."""
    *first, last = map(str, items)
    return f"{', '.join(first)} and {last}" if first else last


def span(values: Sequence[float], digits: int) -> str:
    """The least and the greatest of some values: 6.2 to 6.9, or one number if both are equal."""
    ends = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return " to ".join(dict.fromkeys(ends))


def paragraph(text: str) -> str:
    """A text broken into the lines of a page."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["|".join(f" {cell} " if cell else " " for cell in row) for row in (header, *rows)]
    lines.insert(1, "|".join(["---"] * len(header)))
    return "\n".join(f"|{line}|" for line in lines)
