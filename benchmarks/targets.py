"""What a benchmark's row should reach; the row says it, and `python -m benchmarks` sums up."""

from typing import NamedTuple

MISSED = "MISSED"


class Target(NamedTuple):
    """A bound of a figure: the least, or with `at_most` the greatest."""

    bound: float
    at_most: bool = False

    def reached(self, value: float) -> bool:
        """Whether a figure keeps to it; one that is no number does not."""
        return value <= self.bound if self.at_most else value >= self.bound

    def verdict(self, value: float) -> str:
        """The target and whether the figure reaches it, for the end of a row."""
        sign = "≤" if self.at_most else "≥"
        return f"{sign} {self.bound:g}: {'reached' if self.reached(value) else MISSED}"


def verdicts(*pairs: tuple[float, Target]) -> str:
    """The verdicts of several figures of a row."""
    return ", ".join(target.verdict(value) for value, target in pairs)
