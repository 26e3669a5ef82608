"""Scenes of made-up animals: small telling heads, large bodies that other classes share in part."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

Array = np.ndarray
Rng = np.random.Generator

VOID = 255


@dataclass(frozen=True)
class Animal:
    """How a class looks and where it lives; only `head`, `pattern`, `tint` and `marks` tell it."""

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
GROUNDS = {
    "grass": (98, 126, 70),
    "water": (88, 124, 148),
    "sand": (182, 164, 124),
    "brick": (150, 96, 80),
}

COUNT_ODDS = (0.45, 0.35, 0.20)  # of 1, 2 and 3 animals
MIXED_ODDS = 0.6  # that several animals are of several classes
HABITAT_ODDS = 0.65  # that the first animal stands on its own ground
PLACEMENTS = 30  # tries before an animal that never fits is left out
LEAST_INSIDE = 0.7  # share of an animal within the frame
LEAST_VISIBLE = 0.6  # share of an animal's pixels that later ones may not hide


@dataclass(frozen=True)
class Scene:
    """An image and its truth.

    image: uint8 (H, W, 3) RGB. mask: uint8 (H, W), 0 background, 1..6 `CLASSES`, 255 the ring round
    every animal. instances: uint8 (H, W), 0, 1..n in drawing order, the same 255 ring. labels: the
    class ids in the mask, ascending: nearly hidden animals are not drawn, so all that are there.
    """

    image: Array
    mask: Array
    instances: Array
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Figure:
    """One animal on the canvas: colours (H, W, 3) and what it covers of each pixel, in [0, 1]."""

    class_id: int
    colour: Array
    cover: Array
    head: Array  # (H, W), of the cover


def draw_scene(rng: Rng, size: int = 128) -> Scene:
    """Draw 1 to 3 animals on size x size pixels (32 or more), decided by `rng` alone."""
    classes = _choose_classes(rng)
    canvas = _backdrop(rng, _choose_grounds(rng, ANIMALS[classes[0] - 1].habitat), size)
    canvas = _clutter(rng, canvas)
    figures, instances = _place(rng, classes, size)
    for figure in figures:
        canvas = _blend(canvas, figure.colour, figure.cover)
    ring = _ring(instances)
    class_of = np.array([0, *(figure.class_id for figure in figures)], np.uint8)
    mask = np.where(ring, VOID, class_of[instances]).astype(np.uint8)
    labels = tuple(int(c) for c in np.unique(mask[(mask > 0) & (mask < VOID)]))
    instances = np.where(ring, VOID, instances).astype(np.uint8)
    return Scene(_photograph(rng, canvas), mask, instances, labels)


# What is in the scene


def _choose_classes(rng: Rng) -> list[int]:
    count = 1 + int(rng.choice(len(COUNT_ODDS), p=COUNT_ODDS))
    mixed = rng.random() < MIXED_ODDS
    chosen = rng.permutation(len(ANIMALS))[:count] + 1
    return [int(c) for c in (chosen if mixed else np.repeat(chosen[0], count))]


def _choose_grounds(rng: Rng, habitat: str) -> tuple[str, str]:
    """The main ground and another that may take a side of it."""
    others = [str(ground) for ground in rng.permutation([g for g in GROUNDS if g != habitat])]
    return (habitat, others[0]) if rng.random() < HABITAT_ODDS else (others[0], others[1])


def _place(rng: Rng, classes: list[int], size: int) -> tuple[list[Figure], Array]:
    """Animals where they fit, later ones in front; instances (H, W) 0, 1..n without the ring."""
    figures: list[Figure] = []
    instances = np.zeros((size, size), np.uint8)
    for class_id in classes:
        for _ in range(PLACEMENTS):
            length = rng.uniform(38, 92 - 6 * len(classes)) / 128 * size
            figure = _draw_animal(rng, class_id, length, rng.uniform(0.1, 0.9, 2) * size, size)
            after = np.where(figure.cover > 0.5, len(figures) + 1, instances).astype(np.uint8)
            areas = [*(f.cover > 0.5 for f in figures), figure.cover > 0.5]
            if _inside(figure, length) and _all_visible(after, areas):
                figures.append(figure)
                instances = after
                break
    return figures, instances


def _inside(figure: Figure, length: float) -> bool:
    """Whether enough is in the frame; a whole animal covers about a third of length squared."""
    return (figure.cover > 0.5).sum() >= LEAST_INSIDE * 0.32 * length**2


def _all_visible(instances: Array, areas: list[Array]) -> bool:
    visible = np.bincount(instances.ravel(), minlength=len(areas) + 1)[1:]
    return all(visible >= LEAST_VISIBLE * np.array([area.sum() for area in areas]))


def _ring(instances: Array) -> Array:
    """Pixels (H, W) bool one step from another region, on both sides of the outline."""
    cross = ndimage.generate_binary_structure(2, 1)
    highest = ndimage.grey_dilation(instances, footprint=cross)
    return highest != ndimage.grey_erosion(instances, footprint=cross)


# Small tools: noise, colours, distances in an animal's own coordinates


def _noise(rng: Rng, size: int, grain: float | tuple[float, float]) -> Array:
    """Smooth noise (size, size) of mean 0 and deviation 1, `grain` pixels wide (rows, columns)."""
    field = ndimage.gaussian_filter(rng.standard_normal((size, size)), grain, mode="wrap")
    return (field - field.mean()) / field.std()


def _vary(rng: Rng, colour: tuple[int, int, int], spread: float) -> Array:
    """A colour (3,) near `colour`: each channel by itself, then all in brightness."""
    return (np.array(colour) + rng.normal(0, spread, 3)) * rng.uniform(0.85, 1.15)


def _blend(below: Array, above: Array, cover: Array) -> Array:
    return below + (above - below) * cover[..., None]


def _ellipse(u: Array, v: Array, a: float, b: float) -> Array:
    return (np.hypot(u / a, v / b) - 1) * min(a, b)


def _limb(u: Array, v: Array, start: tuple, end: tuple, thickness: float) -> Array:
    """Distance to a straight limb with round ends from `start` to `end`."""
    (u0, v0), (u1, v1) = start, end
    along = ((u - u0) * (u1 - u0) + (v - v0) * (v1 - v0)) / ((u1 - u0) ** 2 + (v1 - v0) ** 2)
    along = np.clip(along, 0, 1)
    return np.hypot(u - u0 - along * (u1 - u0), v - v0 - along * (v1 - v0)) - thickness


def _union(*distances: Array) -> Array:
    return np.minimum.reduce(distances)


# Animals: u runs from tail (-1) to nose (1), v from feet (below 0) to back


def _walker(rng: Rng, u: Array, v: Array) -> Array:
    swings = zip((-0.42, -0.3, 0.28, 0.4), rng.normal(0, 0.12, 4), strict=True)
    legs = [_limb(u, v, (x, -0.1), (x + swing, -0.62), 0.09) for x, swing in swings]
    tail = _limb(u, v, (-0.55, 0.1), (-0.95, rng.uniform(-0.2, 0.4)), 0.08)
    neck = _limb(u, v, (0.45, 0.1), (0.72, 0.3), 0.17)
    return _union(_ellipse(u, v, 0.66, rng.uniform(0.32, 0.42)), tail, neck, *legs)


def _swimmer(rng: Rng, u: Array, v: Array) -> Array:
    spread = rng.uniform(0.22, 0.36)
    tail = [_limb(u, v, (-0.6, 0), (-0.92, side * spread), 0.12) for side in (-1, 1)]
    fins = [_limb(u, v, (0, s * 0.25), (rng.uniform(-0.4, 0), s * 0.52), 0.11) for s in (-1, 1)]
    return _union(_ellipse(u, v, 0.78, rng.uniform(0.33, 0.43)), *tail, *fins)


def _flyer(rng: Rng, u: Array, v: Array) -> Array:
    legs = [_limb(u, v, (x, -0.3), (x + rng.normal(0, 0.08), -0.72), 0.07) for x in (-0.1, 0.12)]
    tail = _limb(u, v, (-0.35, 0.05), (-0.92, rng.uniform(-0.2, 0.25)), 0.15)
    wing = _limb(u, v, (0.05, 0.15), (rng.uniform(-0.6, -0.1), rng.uniform(0.5, 0.75)), 0.15)
    neck = _limb(u, v, (0.3, 0.15), (0.58, 0.38), 0.17)
    return _union(_ellipse(u, v, 0.54, rng.uniform(0.36, 0.46)), tail, wing, neck, *legs)


BODIES: dict[str, Callable[[Rng, Array, Array], Array]] = {
    "walker": _walker,
    "swimmer": _swimmer,
    "flyer": _flyer,
}
HEAD_AT = {"walker": (0.78, 0.32), "swimmer": (0.66, 0.0), "flyer": (0.64, 0.42)}
HEAD_RADIUS = 0.24

# In the head's own coordinates, where a disc of radius 1 is the plain head.
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


def _draw_animal(rng: Rng, class_id: int, length: float, centre: Array, size: int) -> Figure:
    """One animal `length` pixels long at `centre` (row, column), its pose left to chance."""
    animal = ANIMALS[class_id - 1]
    unit = length / 2
    u, v = _pose(rng, (np.indices((size, size)) - centre[:, None, None]) / unit)
    body = _covered(BODIES[animal.body](rng, u, v), unit)
    turn, (hu, hv) = rng.normal(0, 0.3), HEAD_AT[animal.body]
    p, q = _turned((u - hu) / HEAD_RADIUS, (v - hv) / HEAD_RADIUS, turn)
    head = _covered(HEADS[animal.head](p, q), unit * HEAD_RADIUS)
    colour = _blend(_fur(rng, animal, u, v), _face(rng, animal, p, q), head)
    shade = 1 + rng.uniform(0.05, 0.25) * np.clip(v, -0.7, 0.7)
    return Figure(class_id, colour * shade[..., None], np.maximum(body, head), head)


def _pose(rng: Rng, offset: Array) -> tuple[Array, Array]:
    """The animal's (u, v) at every pixel: turned, perhaps mirrored, its back bent."""
    u, v = _turned(offset[1], -offset[0], rng.normal(0, 0.45))
    return u * rng.choice((-1, 1)), v - rng.uniform(-0.25, 0.25) * u**2


def _turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def _covered(distance: Array, unit: float) -> Array:
    """Share of each pixel inside, from a distance in units of `unit` pixels."""
    return np.clip(0.5 - distance * unit, 0, 1)


def _fur(rng: Rng, animal: Animal, u: Array, v: Array) -> Array:
    """The coat, which other classes wear too, with sparse and faded marks in the class's tint."""
    name = animal.coats[int(rng.integers(2))]
    coat = _vary(rng, COATS[name], 9)
    grain = {"brown": (0.8, 2.5), "slate": 3.0, "olive": 1.2}[name]
    fur = coat + 9 * _noise(rng, len(u), grain)[..., None]
    tint = coat + rng.uniform(0.5, 0.75) * (_vary(rng, animal.tint, 16) - coat)
    worn = np.clip(0.75 + 0.3 * _noise(rng, len(u), 4), 0, 1)  # marks fade in places
    return _blend(fur, tint, _marks(rng, animal.marks, u, v) * worn)


def _marks(rng: Rng, kind: str, u: Array, v: Array) -> Array:
    """Where the class's marks are, (H, W) bool: about a quarter of a body."""
    if kind == "stripes":
        wave = rng.uniform(0, 6) + rng.uniform(11, 15) * u + 1.2 * _noise(rng, len(u), 6)
        return np.sin(wave) > 0.6
    count, least, most = {"spots": (26, 0.05, 0.09), "patches": (6, 0.1, 0.19)}[kind]
    at = rng.uniform((-0.9, -0.45), (0.7, 0.45), (count, 2))[:, :, None, None]
    radii = rng.uniform(least, most, count)[:, None, None]
    return (np.hypot(u - at[:, 0], v - at[:, 1]) < radii).any(axis=0)


def _face(rng: Rng, animal: Animal, p: Array, q: Array) -> Array:
    """The head's colours: the class's tint under the class's pattern, dark or pale."""
    ink = np.array([40, 36, 40]) if animal.pattern in ("bars", "halves", "cross") else 225
    ink = ink + rng.normal(0, 10, 3)
    return np.where(PATTERNS[animal.pattern](p, q)[..., None], ink, _vary(rng, animal.tint, 8))


# Ground, clutter and light


def _backdrop(rng: Rng, grounds: tuple[str, str], size: int) -> Array:
    """The first ground, in two of five scenes with the second beyond a wavy edge."""
    main = _ground(rng, grounds[0], size)
    if rng.random() > 0.4:
        return main
    side = _side(rng, size, rng.uniform(0.2, 0.45)) + 2 * _noise(rng, size, 8)
    return _blend(main, _ground(rng, grounds[1], size), np.clip(side, 0, 1))


def _side(rng: Rng, size: int, depth: float) -> Array:
    """Pixels (size, size) past a straight line `depth` deep in the frame, in any direction."""
    rows, columns = (np.indices((size, size)) + 0.5) / size - 0.5
    along, _ = _turned(columns, rows, rng.uniform(0, 2 * np.pi))
    return (along - (0.5 - depth)) * size


def _ground(rng: Rng, name: str, size: int) -> Array:
    """A textured ground (size, size, 3)."""
    texture = TEXTURES[name](rng, size) + 0.5 * _noise(rng, size, 12)
    return _vary(rng, GROUNDS[name], 8) + rng.uniform(9, 15) * texture[..., None]


def _grass(rng: Rng, size: int) -> Array:
    return _noise(rng, size, (2.5, 0.6)) + 0.5 * _noise(rng, size, 5)


def _water(rng: Rng, size: int) -> Array:
    rows = np.indices((size, size))[0]
    return np.sin(rng.uniform(0.5, 0.9) * rows + 1.5 * _noise(rng, size, (3, 10)))


def _sand(rng: Rng, size: int) -> Array:
    return 0.7 * _noise(rng, size, 0.7) + 0.7 * _noise(rng, size, (2, 7))


def _brick(rng: Rng, size: int) -> Array:
    """Courses of bricks, each in its own shade, between pale joints."""
    height = int(rng.integers(8, 13))
    rows, columns = np.indices((size, size)) + rng.integers(0, height, 2)[:, None, None]
    columns = columns + rows // height % 2 * height
    joint = (rows % height < 1) | (columns % (2 * height) < 1)
    shades = rng.normal(0, 0.8, (size, size))[rows // height, columns // (2 * height)]
    return np.where(joint, 1.5, shades) + 0.4 * _noise(rng, size, 0.8)


TEXTURES: dict[str, Callable[[Rng, int], Array]] = {
    "grass": _grass,
    "water": _water,
    "sand": _sand,
    "brick": _brick,
}


def _clutter(rng: Rng, canvas: Array) -> Array:
    """Blobs and sticks of no class, some in colours near a class's."""
    size = len(canvas)
    for _ in range(rng.integers(2, 7)):
        x, y = _turned(*_offsets(rng, size), rng.uniform(0, np.pi))
        half = rng.uniform(0.02, 0.07, 2) * (1, 0.8)
        blob = _ellipse(x + 0.01 * _noise(rng, size, 4), y, half[0], half[1])
        stick = _limb(x, y, (-3 * half[0], 0), (3 * half[0], 0), 0.012)
        cover = _covered(stick if rng.random() < 0.4 else blob, size)
        colour = _litter_colour(rng) + 8 * _noise(rng, size, 1.5)[..., None]
        canvas = _blend(canvas, colour, cover)
    return canvas


def _offsets(rng: Rng, size: int) -> Array:
    """Columns and rows (2, size, size) from a chance point, in frame widths."""
    return np.indices((size, size))[::-1] / size - rng.uniform(0, 1, 2)[:, None, None]


def _litter_colour(rng: Rng) -> Array:
    palette = [animal.tint for animal in ANIMALS] if rng.random() < 0.35 else [*COATS.values()]
    return _vary(rng, palette[int(rng.integers(len(palette)))], 20)


def _photograph(rng: Rng, canvas: Array) -> Array:
    """Uneven light, perhaps a cast shade, blur, exposure and sensor noise: uint8 (H, W, 3)."""
    size = len(canvas)
    slope = _side(rng, size, 0.5)[..., None] / size
    light = 1 + rng.uniform(0, 0.4) * slope
    if rng.random() < 0.4:
        shade = np.clip(_side(rng, size, rng.uniform(0.15, 0.5)) / 3, 0, 1)
        light = light * (1 - rng.uniform(0.2, 0.45) * shade[..., None])
    lit = ndimage.gaussian_filter(canvas * light, rng.uniform(0.3, 0.7), axes=(0, 1))
    exposed = 255 * np.clip(lit * rng.uniform(0.85, 1.15) / 255, 0, 1) ** rng.uniform(0.8, 1.25)
    noisy = exposed + rng.normal(0, rng.uniform(2, 7), canvas.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
