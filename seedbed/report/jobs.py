"""Which rule needs which, from the graph of the jobs that Snakemake prints."""

import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

from seedbed.runtime.errors import UserError

Edge = tuple[str, str]


def read_jobs(text: str) -> tuple[dict[str, str], list[Edge]]:
    """The rule of each job, and which job comes before which, of what `snakemake --dag` prints."""
    rules = dict(re.findall(r'^\s*(\d+)\s*\[label = "(\w+)', text, re.MULTILINE))
    edges = re.findall(r"^\s*(\d+)\s*->\s*(\d+)", text, re.MULTILINE)
    return rules, [(a, b) for a, b in edges if a in rules and b in rules]


def rule_edges(rules: Mapping[str, str], edges: Iterable[Edge]) -> tuple[list[Edge], list[Edge]]:
    """The edges between the rules of jobs: those that lead on, and those for the next round.

    A rule stands where its first job does; what leads back from there is for the next round.

    Raises:
        UserError: if jobs wait for each other in a circle.

    """
    edges = list(edges)
    before: dict[str, list[str]] = {job: [] for job in rules}
    for a, b in edges:
        before[b].append(a)
    depth: dict[str, int] = {}
    try:
        for job in TopologicalSorter(before).static_order():
            depth[job] = 1 + max((depth[other] for other in before[job]), default=0)
    except CycleError as error:
        raise UserError(
            "jobs wait for each other in a circle: give what snakemake --dag prints"
        ) from error
    first: dict[str, tuple[int, str]] = {}
    for job in depth:
        rule = rules[job]
        first[rule] = min(first.get(rule, (depth[job], rule)), (depth[job], rule))
    pairs = sorted({(rules[a], rules[b]) for a, b in edges if rules[a] != rules[b]})
    return (
        [(a, b) for a, b in pairs if first[a] < first[b]],
        [(a, b) for a, b in pairs if first[a] > first[b]],
    )
