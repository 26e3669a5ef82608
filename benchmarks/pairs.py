"""Timing two ways of doing one thing: in turns, in one process, so that noise hits both alike."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Comparison(NamedTuple):
    """Median seconds of ours and theirs; theirs / ours by turn: median, least and greatest."""

    ours: float
    theirs: float
    ratio: float
    least: float
    greatest: float

    def __str__(self) -> str:
        times = f"{1000 * self.ours:.3g} ms against {1000 * self.theirs:.3g} ms"
        return f"{times}, ratio {self.ratio:.1f} ({self.least:.1f} to {self.greatest:.1f})"


def compare(ours: Callable[[], object], theirs: Callable[[], object], turns: int) -> Comparison:
    """Call ours, theirs, ours, theirs …, after one turn that warms up."""
    pairs = [(_seconds(ours), _seconds(theirs)) for _ in range(turns + 1)][1:]
    ratios = [other / own for own, other in pairs]
    own, other = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Comparison(own, other, statistics.median(ratios), min(ratios), max(ratios))


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
