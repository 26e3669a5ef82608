"""Noise, colours, and signed distances to shapes, from which scenes are drawn."""

import numpy as np
from scipy import ndimage

Array = np.ndarray
Rng = np.random.Generator


def noise(rng: Rng, size: int, grain: float | tuple[float, float]) -> Array:
    """Smooth noise (size, size), mean 0, deviation 1; `grain` is the blur (rows, columns)."""
    field = ndimage.gaussian_filter(rng.standard_normal((size, size)), grain, mode="wrap")
    return (field - field.mean()) / field.std()


def vary_colour(rng: Rng, colour: tuple[int, int, int], spread: float) -> Array:
    """A random colour (3,) near `colour`: channels vary independently, then the brightness."""
    return (np.array(colour) + rng.normal(0, spread, 3)) * rng.uniform(0.85, 1.15)


def blend(below: Array, above: Array, cover: Array) -> Array:
    """Alpha blending of colours (H, W, 3) with the opacity `cover` (H, W) of the upper ones."""
    return below + (above - below) * cover[..., None]


def ellipse(u: Array, v: Array, a: float, b: float) -> Array:
    """Approximate signed distance to an ellipse with half axes a and b; negative inside."""
    return (np.hypot(u / a, v / b) - 1) * min(a, b)


def limb(u: Array, v: Array, start: tuple, end: tuple, thickness: float) -> Array:
    """Signed distance to a straight limb with round ends from `start` to `end`."""
    (u0, v0), (u1, v1) = start, end
    along = ((u - u0) * (u1 - u0) + (v - v0) * (v1 - v0)) / ((u1 - u0) ** 2 + (v1 - v0) ** 2)
    along = np.clip(along, 0, 1)
    return np.hypot(u - u0 - along * (u1 - u0), v - v0 - along * (v1 - v0)) - thickness


def union(*distances: Array) -> Array:
    """Signed distance to the union of shapes."""
    return np.minimum.reduce(distances)


def rotate(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """Coordinates in a frame rotated by `angle` radians."""
    return np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x


def coverage(distance: Array, unit: float) -> Array:
    """Fraction of each pixel inside a shape, from its signed distance in units of `unit` pixels."""
    return np.clip(0.5 - distance * unit, 0, 1)
