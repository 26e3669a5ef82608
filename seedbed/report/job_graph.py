"""The graph of a run's rules, from the graph of its jobs that `snakemake --dag` prints."""

import re

import networkx as nx

from seedbed.runtime.errors import UserError

Edge = tuple[str, str]


def read_job_graph(text: str) -> nx.DiGraph:
    """Jobs by number, each with the attribute `rule`, from what `snakemake --dag` prints.

    networkx reads DOT only with Graphviz' own parser (pydot), and needs no more than two patterns
    of what Snakemake writes.
    """
    jobs = nx.DiGraph()
    for job, rule in re.findall(r'^\s*(\d+)\s*\[label = "(\w+)', text, re.MULTILINE):
        jobs.add_node(job, rule=rule)
    edges = re.findall(r"^\s*(\d+)\s*->\s*(\d+)", text, re.MULTILINE)
    jobs.add_edges_from(edge for edge in edges if set(edge) <= set(jobs))
    return jobs


def rule_edges(jobs: nx.DiGraph) -> tuple[list[Edge], list[Edge]]:
    """The edges between rules: those that lead forward, and those that lead to the next round.

    Rules are ordered by their first job; an edge to an earlier rule leads to the next round.

    Raises:
        UserError: if the jobs depend on each other in a cycle.

    """
    rule = nx.get_node_attributes(jobs, "rule")
    order: dict[str, int] = {}
    try:
        for generation in nx.topological_generations(jobs):
            for name in sorted(rule[job] for job in generation):
                order.setdefault(name, len(order))
    except nx.NetworkXUnfeasible as error:
        raise UserError(
            "the jobs depend on each other in a cycle: give what snakemake --dag prints"
        ) from error
    edges = sorted({(rule[a], rule[b]) for a, b in jobs.edges if rule[a] != rule[b]})
    forward = [(a, b) for a, b in edges if order[a] < order[b]]
    return forward, [edge for edge in edges if edge not in forward]
