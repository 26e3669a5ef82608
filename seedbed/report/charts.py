"""Training curves as the points of an SVG picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 260, 140
LEFT, RIGHT, TOP, BOTTOM = 38, 8, 8, 22
MOST_POINTS = 200


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where, in pixels, and what it says."""

    place: float
    text: str


@dataclass(frozen=True)
class Line:
    """A named line: "x,y x,y …" in pixels."""

    name: str
    points: str


@dataclass(frozen=True)
class LineChart:
    """Lines and axes in a picture of WIDTH × HEIGHT."""

    title: str
    lines: list[Line]
    across: list[Tick]
    up: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def line_chart(title: str, rows: Sequence[Mapping[str, str]]) -> LineChart | None:
    """Draw the columns of a training log, but its rate, over its column `step`.

    Cells that are no finite number are left out; None if nothing can be drawn. Long logs are
    thinned out evenly, the last row kept.
    """
    every = math.ceil(len(rows) / MOST_POINTS) or 1
    kept = rows[::-1][::every][::-1]
    names = [name for name in (kept[0] if kept else ()) if name not in ("step", "rate")]
    curves = {
        name: [
            (x, y)
            for row in kept
            if (x := number(row.get("step"))) is not None and (y := number(row[name])) is not None
        ]
        for name in names
    }
    curves = {name: points for name, points in curves.items() if points}
    if not curves:
        return None
    xs, ys = zip(*(point for points in curves.values() for point in points), strict=True)
    x_axis, y_axis = (
        _Axis.of([0, *xs], LEFT, WIDTH - RIGHT),
        _Axis.of([0, *ys], HEIGHT - BOTTOM, TOP),
    )
    lines = [
        Line(name, " ".join(f"{x_axis.place(x):.1f},{y_axis.place(y):.1f}" for x, y in points))
        for name, points in curves.items()
    ]
    return LineChart(title, lines, x_axis.ticks(), y_axis.ticks())


def number(text: str | None) -> float | None:
    """The finite number that a table's cell holds, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class _Axis:
    """An axis with round numbers, from `start` to `end` in pixels."""

    marks: list[float]
    start: float
    end: float

    @classmethod
    def of(cls, values: Sequence[float], start: float, end: float) -> "_Axis":
        low, high = min(values), max(values)
        marks = MaxNLocator(4).tick_values(low, high if high > low else low + 1)
        return cls(marks.tolist(), start, end)

    def place(self, value: float) -> float:
        first, last = self.marks[0], self.marks[-1]
        return self.start + (value - first) / (last - first) * (self.end - self.start)

    def ticks(self) -> list[Tick]:
        return [Tick(round(self.place(mark), 1), f"{mark:g}") for mark in self.marks]
