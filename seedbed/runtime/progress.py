"""How far a long piece of work is: a bar on a terminal, a line a minute in a log."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

SECONDS_A_LINE = 60.0


def progress(items: Iterable[Item], *, total: int | None = None, done: int = 0) -> Iterable[Item]:
    """The items; an item counts as done when the next one is asked for.

    Says on stderr how many are done, how fast and, if their number is known, how long the rest will
    take, under the program's name: in a bar on a terminal, else in a line a minute and nothing
    before the first minute is over. `total` is their number where they have no length, `done` how
    many of it came before.
    """
    name = Path(sys.argv[0]).stem
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        bar = {"mininterval": 0.5, "maxinterval": 1, "dynamic_ncols": True}
        return tqdm(items, desc=name, total=total, initial=done, **bar)
    return _with_lines(items, name, total, done)


def _with_lines(items: Iterable[Item], name: str, total: int | None, done: int) -> Iterator[Item]:
    begun = said = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said >= SECONDS_A_LINE:
            line = standing(done + count, total, count / (now - begun))
            print(f"{name}: {line}", file=sys.stderr, flush=True)
            said = now


def standing(done: int, total: int | None, rate: float) -> str:
    """One line: items done of `total`, `rate` (items a second) and what time the rest takes."""
    speed = f"{rate:.1f} it/s" if rate >= 1 else f"{1 / rate:.1f} s/it"
    if total is None:
        return f"{done} done, {speed}"
    return f"{done} of {total}, {speed}, {_in_words((total - done) / rate)} left"


def _in_words(seconds: float) -> str:
    """A time in the unit that says it in few digits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
