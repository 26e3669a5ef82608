"""The surroundings of the synthetic animals: textured grounds, clutter, light and camera."""

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from seedbed.data.mini.animals import ANIMALS, COATS
from seedbed.data.mini.shapes import (
    Array,
    Rng,
    blend,
    coverage,
    ellipse,
    limb,
    noise,
    rotate,
    vary_colour,
)

GROUNDS = {
    "grass": (98, 126, 70),
    "water": (88, 124, 148),
    "sand": (182, 164, 124),
    "brick": (150, 96, 80),
}


def draw_ground(rng: Rng, grounds: tuple[str, str], size: int) -> Array:
    """The first ground and, in two of five scenes, the second one beyond a wavy edge."""
    main = _texture(rng, grounds[0], size)
    if rng.random() > 0.4:
        return main
    side = _half_plane(rng, size, rng.uniform(0.2, 0.45)) + 2 * noise(rng, size, 8)
    return blend(main, _texture(rng, grounds[1], size), np.clip(side, 0, 1))


def _half_plane(rng: Rng, size: int, depth: float) -> Array:
    """Signed distance (size, size) to a random line, positive in a strip `depth` frames wide."""
    rows, columns = (np.indices((size, size)) + 0.5) / size - 0.5
    along, _ = rotate(columns, rows, rng.uniform(0, 2 * np.pi))
    return (along - (0.5 - depth)) * size


def _texture(rng: Rng, name: str, size: int) -> Array:
    """A ground's colours (size, size, 3)."""
    texture = TEXTURES[name](rng, size) + 0.5 * noise(rng, size, 12)
    return vary_colour(rng, GROUNDS[name], 8) + rng.uniform(9, 15) * texture[..., None]


def _grass(rng: Rng, size: int) -> Array:
    return noise(rng, size, (2.5, 0.6)) + 0.5 * noise(rng, size, 5)


def _water(rng: Rng, size: int) -> Array:
    rows = np.indices((size, size))[0]
    return np.sin(rng.uniform(0.5, 0.9) * rows + 1.5 * noise(rng, size, (3, 10)))


def _sand(rng: Rng, size: int) -> Array:
    return 0.7 * noise(rng, size, 0.7) + 0.7 * noise(rng, size, (2, 7))


def _brick(rng: Rng, size: int) -> Array:
    """Rows of bricks of different shades with light joints."""
    height = int(rng.integers(8, 13))
    rows, columns = np.indices((size, size)) + rng.integers(0, height, 2)[:, None, None]
    columns = columns + rows // height % 2 * height
    joint = (rows % height < 1) | (columns % (2 * height) < 1)
    shades = rng.normal(0, 0.8, (size, size))[rows // height, columns // (2 * height)]
    return np.where(joint, 1.5, shades) + 0.4 * noise(rng, size, 0.8)


TEXTURES: dict[str, Callable[[Rng, int], Array]] = {
    "grass": _grass,
    "water": _water,
    "sand": _sand,
    "brick": _brick,
}


def add_clutter(rng: Rng, canvas: Array) -> Array:
    """Add blobs and sticks of no class, some in colours close to a class's tint."""
    size = len(canvas)
    for _ in range(rng.integers(2, 7)):
        x, y = rotate(*_offsets(rng, size), rng.uniform(0, np.pi))
        half = rng.uniform(0.02, 0.07, 2) * (1, 0.8)
        blob = ellipse(x + 0.01 * noise(rng, size, 4), y, half[0], half[1])
        stick = limb(x, y, (-3 * half[0], 0), (3 * half[0], 0), 0.012)
        cover = coverage(stick if rng.random() < 0.4 else blob, size)
        colour = _litter_colour(rng) + 8 * noise(rng, size, 1.5)[..., None]
        canvas = blend(canvas, colour, cover)
    return canvas


def _offsets(rng: Rng, size: int) -> Array:
    """Offsets (2, size, size) in x and y from a random point, in frame widths."""
    return np.indices((size, size))[::-1] / size - rng.uniform(0, 1, 2)[:, None, None]


def _litter_colour(rng: Rng) -> Array:
    palette = [animal.tint for animal in ANIMALS] if rng.random() < 0.35 else [*COATS.values()]
    return vary_colour(rng, palette[int(rng.integers(len(palette)))], 20)


def photograph(rng: Rng, canvas: Array) -> Array:
    """Uneven light, sometimes a shadow, blur, exposure and sensor noise; uint8 (H, W, 3)."""
    size = len(canvas)
    slope = _half_plane(rng, size, 0.5)[..., None] / size
    light = 1 + rng.uniform(0, 0.4) * slope
    if rng.random() < 0.4:
        shade = np.clip(_half_plane(rng, size, rng.uniform(0.15, 0.5)) / 3, 0, 1)
        light = light * (1 - rng.uniform(0.2, 0.45) * shade[..., None])
    lit = ndimage.gaussian_filter(canvas * light, rng.uniform(0.3, 0.7), axes=(0, 1))
    exposed = 255 * np.clip(lit * rng.uniform(0.85, 1.15) / 255, 0, 1) ** rng.uniform(0.8, 1.25)
    noisy = exposed + rng.normal(0, rng.uniform(2, 7), canvas.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
