"""Targets beside the rows of the benchmarks, and what `python -m benchmarks` makes of them."""

import math
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from benchmarks import __main__ as every
from benchmarks import growing
from benchmarks.crf import GRIDS, IMAGE_21, Case
from benchmarks.targets import MISSED, Target, verdicts
from seedbed.methods.dsrg.growing import grow_seeds


@pytest.mark.parametrize(
    ("target", "value", "text"),
    [
        (Target(7.5), 7.5, "≥ 7.5: reached"),
        (Target(7.5), 7.4, f"≥ 7.5: {MISSED}"),
        (Target(0.15, at_most=True), 0.1, "≤ 0.15: reached"),
        (Target(0.15, at_most=True), 0.2, f"≤ 0.15: {MISSED}"),
        (Target(1), math.nan, f"≥ 1: {MISSED}"),
        (Target(1, at_most=True), math.nan, f"≤ 1: {MISSED}"),
    ],
)
def test_verdict(target, value, text):
    assert target.verdict(value) == text


def test_rows_of_the_crf_are_judged_by_ratio_and_agreement():
    case = Case("", lambda backend: [], 1, IMAGE_21)
    assert case.verdict("native", 1, 8, 1) == "≥ 7.5: reached, ≥ 0.9999: reached"
    assert case.verdict("native", 2, 8, 0.9) == f"≥ 14: {MISSED}, ≥ 0.9999: {MISSED}"
    assert case.verdict("native", 16, 8, 1) == "≥ 0.9999: reached"  # no target for 16 threads
    assert case.verdict("pydensecrf", 1, 1, 1) == ""
    assert GRIDS["native"][2].verdict(11) == verdicts((11, Target(11)))


def test_rows_that_fall_short_are_collected_and_shown(capfd):
    program = f"print('a: ≥ 1: reached'); print('b: ≥ 2: {MISSED}'); raise SystemExit(3)"
    missed = every.run([sys.executable, "-c", program], "step")
    assert missed == [f"step: b: ≥ 2: {MISSED}", "step: ended with status 3"]
    assert capfd.readouterr().out.splitlines() == ["a: ≥ 1: reached", f"b: ≥ 2: {MISSED}"]
    assert every.run([sys.executable, "-c", "print('a')"], "step") == []


def test_every_benchmark_is_there():
    assert all(find_spec(f"benchmarks.{name}") for name in every.NAMES)


def test_growing_by_loops_gives_what_growing_gives():
    cues, probs, labels = (tensor[:1] for tensor in growing.batch())
    expected = growing.grow_by_loops(*(each[0].numpy() for each in (cues, probs, labels)))
    options = {"foreground_threshold": 0.85, "background_threshold": 0.99, "prefill_seeds": True}
    assert np.array_equal(grow_seeds(cues, probs, labels, **options)[0].numpy(), expected)
    assert expected.sum() > cues.sum()
