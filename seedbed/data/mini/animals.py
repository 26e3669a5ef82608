"""The synthetic animals: what tells the classes apart, and how an animal is drawn.

An animal has coordinates of its own: u runs from tail (-1) to nose (1), v from feet (below 0) to
back. A head has coordinates p, q in which a disc of radius 1 is the plain head.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from seedbed.data.mini.shapes import (
    Array,
    Rng,
    blend,
    coverage,
    ellipse,
    limb,
    noise,
    rotate,
    union,
    vary_colour,
)


@dataclass(frozen=True)
class Animal:
    """How a class looks and where it lives; only head, pattern, tint and marks identify it."""

    name: str
    body: str
    coats: tuple[str, str]
    head: str
    pattern: str
    tint: tuple[int, int, int]
    marks: str
    habitat: str


ANIMALS = (
    Animal("burrel", "walker", ("brown", "slate"),
           "eared", "bars", (196, 52, 48), "stripes", "grass"),
    Animal("dappit", "flyer", ("slate", "olive"),
           "disc", "rings", (222, 190, 50), "spots", "sand"),
    Animal("finnow", "swimmer", ("brown", "olive"),
           "kite", "halves", (48, 176, 180), "patches", "water"),
    Animal("kestle", "walker", ("brown", "slate"),
           "box", "checks", (186, 66, 158), "spots", "brick"),
    Animal("mottle", "flyer", ("brown", "olive"),
           "star", "cross", (224, 122, 40), "patches", "grass"),
    Animal("pinnet", "swimmer", ("slate", "olive"),
           "wedge", "dot", (86, 84, 206), "stripes", "water"),
)  # fmt: skip
CLASSES: tuple[str, ...] = tuple(animal.name for animal in ANIMALS)

COATS = {"brown": (122, 90, 64), "slate": (106, 112, 122), "olive": (122, 122, 80)}


@dataclass(frozen=True)
class Figure:
    """A drawn animal: colours (H, W, 3) and the fraction of each pixel that it covers (H, W)."""

    class_id: int
    colour: Array
    cover: Array
    head: Array  # (H, W), the part of `cover` that is the head


def _walker(rng: Rng, u: Array, v: Array) -> Array:
    swings = zip((-0.42, -0.3, 0.28, 0.4), rng.normal(0, 0.12, 4), strict=True)
    legs = [limb(u, v, (x, -0.1), (x + swing, -0.62), 0.09) for x, swing in swings]
    tail = limb(u, v, (-0.55, 0.1), (-0.95, rng.uniform(-0.2, 0.4)), 0.08)
    neck = limb(u, v, (0.45, 0.1), (0.72, 0.3), 0.17)
    return union(ellipse(u, v, 0.66, rng.uniform(0.32, 0.42)), tail, neck, *legs)


def _swimmer(rng: Rng, u: Array, v: Array) -> Array:
    spread = rng.uniform(0.22, 0.36)
    tail = [limb(u, v, (-0.6, 0), (-0.92, side * spread), 0.12) for side in (-1, 1)]
    fins = [limb(u, v, (0, s * 0.25), (rng.uniform(-0.4, 0), s * 0.52), 0.11) for s in (-1, 1)]
    return union(ellipse(u, v, 0.78, rng.uniform(0.33, 0.43)), *tail, *fins)


def _flyer(rng: Rng, u: Array, v: Array) -> Array:
    legs = [limb(u, v, (x, -0.3), (x + rng.normal(0, 0.08), -0.72), 0.07) for x in (-0.1, 0.12)]
    tail = limb(u, v, (-0.35, 0.05), (-0.92, rng.uniform(-0.2, 0.25)), 0.15)
    wing = limb(u, v, (0.05, 0.15), (rng.uniform(-0.6, -0.1), rng.uniform(0.5, 0.75)), 0.15)
    neck = limb(u, v, (0.3, 0.15), (0.58, 0.38), 0.17)
    return union(ellipse(u, v, 0.54, rng.uniform(0.36, 0.46)), tail, wing, neck, *legs)


BODIES: dict[str, Callable[[Rng, Array, Array], Array]] = {
    "walker": _walker,
    "swimmer": _swimmer,
    "flyer": _flyer,
}
HEAD_AT = {"walker": (0.78, 0.32), "swimmer": (0.66, 0.0), "flyer": (0.64, 0.42)}
HEAD_RADIUS = 0.24

HEADS: dict[str, Callable[[Array, Array], Array]] = {
    "disc": lambda p, q: np.hypot(p, q) - 1,
    "box": lambda p, q: np.maximum(abs(p), abs(q)) - 0.9,
    "kite": lambda p, q: (abs(p) + abs(q) - 1.25) * 0.7,
    "wedge": lambda p, q: np.maximum(-p - 0.8, (p + 1.6 * abs(q) - 1.3) * 0.55),
    "star": lambda p, q: np.hypot(p, q) - 1 - 0.25 * np.cos(5 * np.arctan2(q, p)),
    "eared": lambda p, q: np.minimum(np.hypot(p, q) - 0.9, np.hypot(abs(p) - 0.65, q - 0.8) - 0.4),
}
PATTERNS: dict[str, Callable[[Array, Array], Array]] = {
    "bars": lambda p, q: np.sin(7 * p) > 0.4,
    "rings": lambda p, q: np.cos(8 * np.hypot(p, q)) > 0.2,
    "halves": lambda p, q: q > 0.15,
    "checks": lambda p, q: np.sin(5 * p) * np.sin(5 * q) > 0.1,
    "cross": lambda p, q: np.minimum(abs(p), abs(q)) < 0.2,
    "dot": lambda p, q: np.hypot(p - 0.1, q) < 0.5,
}


def draw_animal(rng: Rng, class_id: int, length: float, centre: Array, size: int) -> Figure:
    """Draw an animal `length` pixels long at `centre` (row, column) in a random pose."""
    animal = ANIMALS[class_id - 1]
    unit = length / 2
    u, v = _pose(rng, (np.indices((size, size)) - centre[:, None, None]) / unit)
    body = coverage(BODIES[animal.body](rng, u, v), unit)
    turn, (hu, hv) = rng.normal(0, 0.3), HEAD_AT[animal.body]
    p, q = rotate((u - hu) / HEAD_RADIUS, (v - hv) / HEAD_RADIUS, turn)
    head = coverage(HEADS[animal.head](p, q), unit * HEAD_RADIUS)
    colour = blend(_fur(rng, animal, u, v), _face(rng, animal, p, q), head)
    shade = 1 + rng.uniform(0.05, 0.25) * np.clip(v, -0.7, 0.7)
    return Figure(class_id, colour * shade[..., None], np.maximum(body, head), head)


def _pose(rng: Rng, offset: Array) -> tuple[Array, Array]:
    """The animal's (u, v) at every pixel: randomly rotated and mirrored, its back bent."""
    u, v = rotate(offset[1], -offset[0], rng.normal(0, 0.45))
    return u * rng.choice((-1, 1)), v - rng.uniform(-0.25, 0.25) * u**2


def _fur(rng: Rng, animal: Animal, u: Array, v: Array) -> Array:
    """A coat that other classes share, with sparse and faded marks in the class's tint."""
    name = animal.coats[int(rng.integers(2))]
    coat = vary_colour(rng, COATS[name], 9)
    grain = {"brown": (0.8, 2.5), "slate": 3.0, "olive": 1.2}[name]
    fur = coat + 9 * noise(rng, len(u), grain)[..., None]
    tint = coat + rng.uniform(0.5, 0.75) * (vary_colour(rng, animal.tint, 16) - coat)
    worn = np.clip(0.75 + 0.3 * noise(rng, len(u), 4), 0, 1)  # marks fade in places
    return blend(fur, tint, _marks(rng, animal.marks, u, v) * worn)


def _marks(rng: Rng, kind: str, u: Array, v: Array) -> Array:
    """The class's marks (H, W) bool, on about a quarter of the body."""
    if kind == "stripes":
        wave = rng.uniform(0, 6) + rng.uniform(11, 15) * u + 1.2 * noise(rng, len(u), 6)
        return np.sin(wave) > 0.6
    count, least, most = {"spots": (26, 0.05, 0.09), "patches": (6, 0.1, 0.19)}[kind]
    at = rng.uniform((-0.9, -0.45), (0.7, 0.45), (count, 2))[:, :, None, None]
    radii = rng.uniform(least, most, count)[:, None, None]
    return (np.hypot(u - at[:, 0], v - at[:, 1]) < radii).any(axis=0)


def _face(rng: Rng, animal: Animal, p: Array, q: Array) -> Array:
    """The head's colours: the class's pattern, dark or light, on the class's tint."""
    ink = np.array([40, 36, 40]) if animal.pattern in ("bars", "halves", "cross") else 225
    ink = ink + rng.normal(0, 10, 3)
    return np.where(
        PATTERNS[animal.pattern](p, q)[..., None], ink, vary_colour(rng, animal.tint, 8)
    )
