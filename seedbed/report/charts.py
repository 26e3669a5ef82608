"""Training curves as the coordinates of an inline SVG.

Not drawn by matplotlib: its SVG has fixed colours, but these curves follow the page's light and
dark scheme, take 2 kB instead of 30, and are the same bytes under every version.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 260, 140
LEFT, RIGHT, TOP, BOTTOM = 38, 8, 8, 22  # margins
MAX_POINTS = 200


@dataclass(frozen=True)
class Tick:
    """A tick of an axis: its position in pixels and its label."""

    position: float
    label: str


@dataclass(frozen=True)
class Line:
    """A named line: "x,y x,y …" in pixels."""

    name: str
    points: str


@dataclass(frozen=True)
class LineChart:
    """Lines and axis ticks in a picture of `width` × `height` pixels."""

    title: str
    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM


def line_chart(title: str, rows: Sequence[Mapping[str, str]]) -> LineChart | None:
    """Plot the columns of a training log, except `rate`, against its column `step`.

    Cells that are not finite numbers are skipped. Of a log of more than 200 rows every n-th is
    plotted, counted from the last. None if there is nothing to plot.
    """
    stride = math.ceil(len(rows) / MAX_POINTS) or 1
    rows = rows[::-1][::stride][::-1]
    names = [name for name in (rows[0] if rows else ()) if name not in ("step", "rate")]
    curves = {name: points for name in names if (points := _points(rows, name))}
    if not curves:
        return None
    xs, ys = zip(*(point for points in curves.values() for point in points), strict=True)
    x_axis = _Axis.over([0, *xs], LEFT, WIDTH - RIGHT)
    y_axis = _Axis.over([0, *ys], HEIGHT - BOTTOM, TOP)
    lines = [
        Line(name, " ".join(f"{x_axis.pixel(x):.1f},{y_axis.pixel(y):.1f}" for x, y in points))
        for name, points in curves.items()
    ]
    return LineChart(title, lines, x_axis.ticks(), y_axis.ticks())


def _points(rows: Sequence[Mapping[str, str]], name: str) -> list[tuple[float, float]]:
    points = ((finite_number(row.get("step")), finite_number(row[name])) for row in rows)
    return [(x, y) for x, y in points if x is not None and y is not None]


def finite_number(text: str | None) -> float | None:
    """The finite number in a table's cell, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True)
class _Axis:
    """An axis from the first to the last of its tick values, `start` to `end` in pixels."""

    values: list[float]
    start: float
    end: float

    @classmethod
    def over(cls, data: Sequence[float], start: float, end: float) -> "_Axis":
        low, high = min(data), max(data)
        values = MaxNLocator(4).tick_values(low, high if high > low else low + 1)
        return cls(values.tolist(), start, end)

    def pixel(self, value: float) -> float:
        first, last = self.values[0], self.values[-1]
        return self.start + (value - first) / (last - first) * (self.end - self.start)

    def ticks(self) -> list[Tick]:
        return [Tick(round(self.pixel(value), 1), f"{value:g}") for value in self.values]
