"""A progress bar on a terminal, a line a minute in a log."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")


def progress(items: Iterable[Item], *, total: int | None = None, done: int = 0) -> "tqdm[Item]":
    """The items, with rate and, if their number is known, remaining time on stderr.

    `total` is their number where they have no length, `done` how many of it came before.
    """
    watched = sys.stderr.isatty()
    return tqdm(
        items,
        initial=done,
        total=total,
        mininterval=0.5 if watched else 60,
        maxinterval=1 if watched else 60,
        ascii=not watched,
        ncols=80,
    )
