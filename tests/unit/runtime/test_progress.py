import io
import sys

import pytest

from seedbed.runtime import progress as module
from seedbed.runtime.progress import describe, progress


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


def iterate(clock, seconds, items, **options):
    """The items; each takes the given time."""
    results = []
    for item in progress(items, **options):
        clock.now += seconds
        results.append(item)
    return results


def test_prints_a_line_a_minute_without_a_terminal(clock, capsys):
    assert iterate(clock, 0.5, range(600)) == list(range(600))
    captured = capsys.readouterr()
    assert captured.out == "" and "\r" not in captured.err
    assert captured.err.splitlines() == [
        "train_round: 120 of 600, 2.0 it/s, 4 min left",
        "train_round: 240 of 600, 2.0 it/s, 3 min left",
        "train_round: 360 of 600, 2.0 it/s, 2 min left",
        "train_round: 480 of 600, 2.0 it/s, 60 s left",
        "train_round: 600 of 600, 2.0 it/s, 0 s left",
    ]


def test_a_short_loop_prints_nothing(clock, capsys):
    assert iterate(clock, 0.5, range(119)) == list(range(119))
    assert capsys.readouterr().err == ""


def test_each_slow_item_has_a_line(clock, capsys):
    iterate(clock, 100, "abc")
    assert capsys.readouterr().err.splitlines() == [
        "train_round: 1 of 3, 100.0 s/it, 3 min left",
        "train_round: 2 of 3, 100.0 s/it, 2 min left",
        "train_round: 3 of 3, 100.0 s/it, 0 s left",
    ]


def test_earlier_items_count_for_the_time_left_and_not_for_the_rate(clock, capsys):
    iterate(clock, 1, iter(range(60)), total=200, done=80)
    assert capsys.readouterr().err == "train_round: 140 of 200, 1.0 it/s, 60 s left\n"


def test_an_unknown_total(clock, capsys):
    iterate(clock, 10, iter("abcdef"))
    assert capsys.readouterr().err == "train_round: 6 done, 10.0 s/it\n"


def test_an_item_is_not_done_before_the_next_is_asked_for(clock, capsys):
    items = iter(progress(range(3)))
    next(items)
    clock.now += 61
    assert capsys.readouterr().err == ""
    next(items)
    assert capsys.readouterr().err.startswith("train_round: 1 of 3,")


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (1, "1.0 it/s, 50 s"),
        (0.6, "1.7 s/it, 83 s"),
        (0.5, "2.0 s/it, 2 min"),
        (0.01, "100.0 s/it, 83 min"),
        (0.005, "200.0 s/it, 2.8 h"),
        (123.44, "123.4 it/s, 0 s"),
    ],
)
def test_format_of_speed_and_time_left(rate, text):
    assert describe(50, 100, rate) == f"50 of 100, {text} left"


def test_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(sys, "argv", ["stages/cam.py"])
    assert list(progress(range(5), total=7, done=2)) == list(range(5))
    text = sys.stderr.getvalue()
    assert "\rcam:" in text and "7/7" in text and "it/s" in text
