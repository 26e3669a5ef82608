"""The graph of a run's rules as a picture, layer by layer, without Graphviz.

Sugiyama, Tagawa & Toda 1981: turn the edges that lead back, put each rule below all that it needs,
let long edges cross a layer at a point of their own, order the layers so that few edges cross.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from seedbed.report.jobs import Edge

BOX_WIDTH, BOX_HEIGHT = 118, 26
GAP_ACROSS, GAP_DOWN = 18, 34
MARGIN = 12
SWEEPS = 8

Point = str | tuple[Edge, int]  # a rule, or where an edge crosses a layer
Place = tuple[float, float]  # x and y in pixels


@dataclass(frozen=True)
class Box:
    """A rule's name and the middle of its box, pixels."""

    name: str
    x: float
    y: float


@dataclass(frozen=True)
class Drawing:
    """Boxes and edges (SVG paths); `again` holds those that lead back up, to the next round."""

    width: float
    height: float
    boxes: list[Box]
    edges: list[str]
    again: list[str]
    box_width: int = BOX_WIDTH
    box_height: int = BOX_HEIGHT


def draw(down: Sequence[Edge], back: Sequence[Edge]) -> Drawing | None:
    """Lay out edges that lead down, without a circle, and others that lead back up against them.

    An edge down that others imply is left out. None if there is no edge down.
    """
    if not down:
        return None
    forward = _reduced(down)
    turned = [(end, start) for start, end in back]
    depth = _depths([*forward, *turned])
    ways = {edge: _way(edge, depth) for edge in (*forward, *turned)}
    steps = [step for way in ways.values() for step in pairwise(way)]
    place = _placed(_ordered(_layers(depth, ways), steps))
    points = {edge: [place[point] for point in way] for edge, way in ways.items()}
    return Drawing(
        max(x for x, _ in place.values()) + BOX_WIDTH / 2 + MARGIN,
        max(y for _, y in place.values()) + BOX_HEIGHT / 2 + MARGIN,
        [Box(name, *place[name]) for name in depth],
        [_curve(points[edge]) for edge in forward],
        [_curve(_to_lower_side(points[edge][::-1])) for edge in turned],
    )


def _following(edges: Iterable[tuple[Point, Point]]) -> dict[Point, list[Point]]:
    following = defaultdict(list)
    for a, b in edges:
        following[a].append(b)
    return following


def _reduced(edges: Sequence[Edge]) -> list[Edge]:
    """Leave out each edge beside which there is a longer way (transitive reduction)."""
    following = _following(edges)
    reach: dict[str, set[str]] = {}

    def beyond(name: str) -> set[str]:
        if name not in reach:
            reach[name] = set(following[name]).union(*map(beyond, following[name]))
        return reach[name]

    return [(a, b) for a, b in edges if not any(b in beyond(other) for other in following[a])]


def _depths(edges: list[Edge]) -> dict[str, int]:
    """The layer of each rule: one below the lowest that it needs."""
    before = _following((b, a) for a, b in edges)
    depth: dict[str, int] = {}

    def find(name: str) -> int:
        if name not in depth:
            depth[name] = 1 + max(map(find, before[name]), default=-1)
        return depth[name]

    return {name: find(name) for name in sorted({name for edge in edges for name in edge})}


def _way(edge: Edge, depth: Mapping[str, int]) -> list[Point]:
    """An edge with a point in each layer that it crosses."""
    start, end = edge
    return [start, *((edge, layer) for layer in range(depth[start] + 1, depth[end])), end]


def _layers(depth: Mapping[str, int], ways: Mapping[Edge, list[Point]]) -> list[list[Point]]:
    layers: list[list[Point]] = [[] for _ in range(max(depth.values()) + 1)]
    for name, layer in depth.items():
        layers[layer].append(name)
    for way in ways.values():
        for point in way[1:-1]:
            layers[point[1]].append(point)
    return layers


def _ordered(layers: list[list[Point]], edges: list[tuple[Point, Point]]) -> list[list[Point]]:
    """Move each point to the mean place of its neighbours, down and up a few times."""
    before, following = _following((b, a) for a, b in edges), _following(edges)
    place = {point: x for layer in layers for point, x in _centred(layer)}
    for sweep in range(SWEEPS):
        neighbours = following if sweep % 2 else before
        for layer in layers[::-1] if sweep % 2 else layers:
            wish = {
                point: fmean(place[other] for other in neighbours[point] or [point])
                for point in layer
            }
            layer.sort(key=lambda point, wish=wish: (wish[point], str(point)))
            place |= _centred(layer)
    return layers


def _centred(layer: list[Point]) -> list[tuple[Point, float]]:
    """Places from left to right, in boxes, 0 the middle."""
    return [(point, k - (len(layer) - 1) / 2) for k, point in enumerate(layer)]


def _placed(layers: list[list[Point]]) -> dict[Point, Place]:
    """The middle of every point in pixels."""
    across, down = BOX_WIDTH + GAP_ACROSS, BOX_HEIGHT + GAP_DOWN
    middle = MARGIN + BOX_WIDTH / 2 + (max(map(len, layers)) - 1) / 2 * across
    return {
        point: (middle + x * across, MARGIN + BOX_HEIGHT / 2 + row * down)
        for row, layer in enumerate(layers)
        for point, x in _centred(layer)
    }


def _curve(points: list[Place]) -> str:
    """A curve that goes through points upright."""
    (x, y), *rest = points
    path = f"M{x:g} {y:g}"
    for next_x, next_y in rest:
        half = (y + next_y) / 2
        path += f"C{x:g} {half:g} {next_x:g} {half:g} {next_x:g} {next_y:g}"
        x, y = next_x, next_y
    return path


def _to_lower_side(points: list[Place]) -> list[Place]:
    """End at the lower side of a box, where an arrow's head is seen; boxes hide the other ends."""
    *rest, (x, y) = points
    return [*rest, (x, y + BOX_HEIGHT / 2)]
