"""A layered drawing of a directed graph, as inline SVG needs it.

The method is that of Sugiyama, Tagawa & Toda 1981: reverse the edges that lead back, put each node
one layer below all that it depends on, split edges that span several layers by virtual nodes, and
order each layer so that few edges cross. networkx has the graph algorithms, but no such layout
without Graphviz, a program that pip does not install.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import networkx as nx

from seedbed.report.job_graph import Edge

BOX_WIDTH, BOX_HEIGHT = 118, 26
GAP_ACROSS, GAP_DOWN = 18, 34
MARGIN = 12
SWEEPS = 8

Node = str | tuple[Edge, int]  # a node of the graph, or a virtual one: its edge and layer
Point = tuple[float, float]  # x and y in pixels


@dataclass(frozen=True)
class Box:
    """A node's name and the centre of its box in pixels."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """Boxes, edges that lead down and edges that lead back up (both as SVG paths)."""

    width: float
    height: float
    boxes: list[Box]
    forward: list[str]
    back: list[str]
    box_width: int = BOX_WIDTH
    box_height: int = BOX_HEIGHT


def draw(forward: Sequence[Edge], back: Sequence[Edge]) -> Drawing | None:
    """Lay out edges that lead down, without a cycle, and edges that lead back up.

    An edge down that is implied by a longer path is left out. None if there is no edge down.
    """
    if not forward:
        return None
    forward = sorted(nx.transitive_reduction(nx.DiGraph(forward)).edges)
    reverse = [(end, start) for start, end in back]
    graph = nx.DiGraph([*forward, *reverse])
    generations = nx.topological_generations(graph)
    layer_of = {name: layer for layer, names in enumerate(generations) for name in names}
    paths = {edge: _path(edge, layer_of) for edge in (*forward, *reverse)}
    layers = _layers(layer_of, paths)
    _reduce_crossings(layers, nx.DiGraph(s for path in paths.values() for s in pairwise(path)))
    point_of = _points(layers)
    points = {edge: [point_of[node] for node in path] for edge, path in paths.items()}
    return Drawing(
        max(x for x, _ in point_of.values()) + BOX_WIDTH / 2 + MARGIN,
        max(y for _, y in point_of.values()) + BOX_HEIGHT / 2 + MARGIN,
        [Box(name, *point_of[name]) for name in sorted(graph)],
        [_curve(points[edge]) for edge in forward],
        [_curve(_end_below_box(points[edge][::-1])) for edge in reverse],
    )


def _path(edge: Edge, layer_of: Mapping[str, int]) -> list[Node]:
    """The ends of an edge and, between them, a virtual node in each layer that it crosses."""
    start, end = edge
    return [start, *((edge, layer) for layer in range(layer_of[start] + 1, layer_of[end])), end]


def _layers(layer_of: Mapping[str, int], paths: Mapping[Edge, list[Node]]) -> list[list[Node]]:
    layers: list[list[Node]] = [[] for _ in range(max(layer_of.values()) + 1)]
    for name in sorted(layer_of):
        layers[layer_of[name]].append(name)
    for path in paths.values():
        for virtual in path[1:-1]:
            layers[virtual[1]].append(virtual)
    return layers


def _reduce_crossings(layers: list[list[Node]], graph: nx.DiGraph) -> None:
    """Sort each layer by the mean position of its nodes' neighbours, sweeping down and up."""
    position = {node: x for layer in layers for node, x in _centred(layer)}
    for sweep in range(SWEEPS):
        neighbours = graph.succ if sweep % 2 else graph.pred
        for layer in layers[::-1] if sweep % 2 else layers:
            mean = {node: fmean(position[n] for n in neighbours[node] or [node]) for node in layer}
            layer.sort(key=lambda node, mean=mean: (mean[node], str(node)))
            position |= _centred(layer)


def _centred(layer: list[Node]) -> list[tuple[Node, float]]:
    """Nodes with their positions from left to right, one apart, with 0 in the middle."""
    return [(node, k - (len(layer) - 1) / 2) for k, node in enumerate(layer)]


def _points(layers: list[list[Node]]) -> dict[Node, Point]:
    """The centre of each node in pixels."""
    across, down = BOX_WIDTH + GAP_ACROSS, BOX_HEIGHT + GAP_DOWN
    middle = MARGIN + BOX_WIDTH / 2 + (max(map(len, layers)) - 1) / 2 * across
    return {
        node: (middle + x * across, MARGIN + BOX_HEIGHT / 2 + row * down)
        for row, layer in enumerate(layers)
        for node, x in _centred(layer)
    }


def _curve(points: list[Point]) -> str:
    """An SVG path of cubic Bézier curves, vertical at each point."""
    (x, y), *rest = points
    path = f"M{x:g} {y:g}"
    for next_x, next_y in rest:
        half = (y + next_y) / 2
        path += f"C{x:g} {half:g} {next_x:g} {half:g} {next_x:g} {next_y:g}"
        x, y = next_x, next_y
    return path


def _end_below_box(points: list[Point]) -> list[Point]:
    """Move the end from the centre of a box to its lower side, where the arrowhead is visible."""
    *rest, (x, y) = points
    return [*rest, (x, y + BOX_HEIGHT / 2)]
