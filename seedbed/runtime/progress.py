"""Progress of a long loop: a bar on a terminal, a line a minute in a log."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 60.0


def progress(items: Iterable[Item], *, total: int | None = None, done: int = 0) -> Iterable[Item]:
    """Iterate over items and show on stderr how many are done, how fast, and the time left.

    On a terminal a bar, else a line a minute under the program's name; a loop of less than a minute
    prints nothing. An item is done when the next one is asked for.

    Args:
        items: what to iterate over.
        total: their number, earlier ones included, if `items` has no length; None: unknown.
        done: number of items done earlier, which do not count for the speed.

    """
    name = Path(sys.argv[0]).stem
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        from tqdm import tqdm  # imported only where it draws

        bar = {"mininterval": 0.5, "maxinterval": 1, "dynamic_ncols": True}
        return tqdm(items, desc=name, total=total, initial=done, **bar)
    return _print_lines(items, name, total, done)


def _print_lines(items: Iterable[Item], name: str, total: int | None, done: int) -> Iterator[Item]:
    start = last_line = time.monotonic()
    for count, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last_line >= SECONDS_BETWEEN_LINES:
            line = describe(done + count, total, count / (now - start))
            print(f"{name}: {line}", file=sys.stderr, flush=True)
            last_line = now


def transfer_progress(blocks: Iterable[bytes], *, total: int | None, done: int) -> Iterator[bytes]:
    """Iterate over blocks of bytes and show how many have come, as `progress` does for items.

    Args:
        blocks: what is iterated over.
        total: number of bytes, earlier ones included; None: unknown.
        done: number of bytes that came earlier, which do not count for the speed.

    """
    from tqdm import tqdm

    name = Path(sys.argv[0]).stem
    units = {"unit": "B", "unit_scale": True, "dynamic_ncols": True}
    start = last_line = time.monotonic()
    here = 0
    silent = not sys.stderr.isatty()
    with tqdm(desc=name, total=total, initial=done, disable=silent, **units) as bar:
        for block in blocks:
            yield block
            here += len(block)
            bar.update(len(block))
            now = time.monotonic()
            if silent and now - last_line >= SECONDS_BETWEEN_LINES:
                line = describe_bytes(done + here, total, here / (now - start))
                print(f"{name}: {line}", file=sys.stderr, flush=True)
                last_line = now


def describe_bytes(done: int, total: int | None, rate: float) -> str:
    """Progress of a transfer in one line: MB done of `total`, `rate` in bytes a second, time."""
    speed = f"{rate / 1e6:.1f} MB/s"
    if total is None:
        return f"{done / 1e6:.0f} MB done, {speed}"
    left = _format_seconds((total - done) / rate)
    return f"{done / 1e6:.0f} of {total / 1e6:.0f} MB, {speed}, {left} left"


def describe(done: int, total: int | None, rate: float) -> str:
    """Progress in one line: items done of `total`, `rate` in items a second, and the time left."""
    speed = f"{rate:.1f} it/s" if rate >= 1 else f"{1 / rate:.1f} s/it"
    if total is None:
        return f"{done} done, {speed}"
    return f"{done} of {total}, {speed}, {_format_seconds((total - done) / rate)} left"


def _format_seconds(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
