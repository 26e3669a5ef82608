import io
import sys

import pytest

from seedbed.runtime import progress as module
from seedbed.runtime.progress import progress, standing


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(sys, "argv", ["/somewhere/stages/train_round.py", "--log", "log.tsv"])
    return clock


def worked_on(clock, seconds, items, **options):
    """The items, each of which takes so long."""
    found = []
    for item in progress(items, **options):
        clock.now += seconds
        found.append(item)
    return found


def test_a_line_a_minute_where_nobody_watches(clock, capsys):
    assert worked_on(clock, 0.5, range(600)) == list(range(600))
    text = capsys.readouterr()
    assert text.out == "" and "\r" not in text.err
    assert text.err.splitlines() == [
        "train_round: 120 of 600, 2.0 it/s, 4 min left",
        "train_round: 240 of 600, 2.0 it/s, 3 min left",
        "train_round: 360 of 600, 2.0 it/s, 2 min left",
        "train_round: 480 of 600, 2.0 it/s, 60 s left",
        "train_round: 600 of 600, 2.0 it/s, 0 s left",
    ]


def test_what_is_soon_done_says_nothing(clock, capsys):
    assert worked_on(clock, 0.5, range(119)) == list(range(119))
    assert capsys.readouterr().err == ""


def test_slow_items_are_a_line_each(clock, capsys):
    worked_on(clock, 100, "abc")
    assert capsys.readouterr().err.splitlines() == [
        "train_round: 1 of 3, 100.0 s/it, 3 min left",
        "train_round: 2 of 3, 100.0 s/it, 2 min left",
        "train_round: 3 of 3, 100.0 s/it, 0 s left",
    ]


def test_what_came_before_counts_for_the_rest_and_not_for_the_rate(clock, capsys):
    worked_on(clock, 1, iter(range(60)), total=200, done=80)
    assert capsys.readouterr().err == "train_round: 140 of 200, 1.0 it/s, 60 s left\n"


def test_an_unknown_number(clock, capsys):
    worked_on(clock, 10, iter("abcdef"))
    assert capsys.readouterr().err == "train_round: 6 done, 10.0 s/it\n"


def test_an_item_is_not_done_before_the_next_is_asked_for(clock, capsys):
    items = iter(progress(range(3)))
    next(items)
    clock.now += 61
    assert capsys.readouterr().err == ""
    next(items)
    assert capsys.readouterr().err.startswith("train_round: 1 of 3,")


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (1, "1.0 it/s, 50 s"),
        (0.6, "1.7 s/it, 83 s"),
        (0.5, "2.0 s/it, 2 min"),
        (0.01, "100.0 s/it, 83 min"),
        (0.005, "200.0 s/it, 2.8 h"),
        (123.44, "123.4 it/s, 0 s"),
    ],
)
def test_times_in_words(rate, said):
    assert standing(50, 100, rate) == f"50 of 100, {said} left"


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(sys, "argv", ["stages/cam.py"])
    assert list(progress(range(5), total=7, done=2)) == list(range(5))
    text = sys.stderr.getvalue()
    assert "\rcam:" in text and "7/7" in text and "it/s" in text
