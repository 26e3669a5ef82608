"""Scenes of synthetic animals: heads are small and distinctive, bodies alike between classes."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from seedbed.data.mini.animals import ANIMALS, Figure, draw_animal
from seedbed.data.mini.grounds import GROUNDS, add_clutter, draw_ground, photograph
from seedbed.data.mini.shapes import Array, Rng, blend
from seedbed.formats.palette import VOID

COUNT_PROBABILITIES = (0.45, 0.35, 0.20)  # of 1, 2 and 3 animals
MIXED_PROBABILITY = 0.6  # that several animals have different classes
HABITAT_PROBABILITY = 0.65  # that the first animal stands on its own ground
MAX_TRIES = 30  # to place an animal, before it is left out
MIN_INSIDE = 0.7  # fraction of an animal within the frame
MIN_VISIBLE = 0.6  # fraction of an animal that is not hidden by later ones


@dataclass(frozen=True)
class Scene:
    """An image and its ground truth.

    Attributes:
        image: RGB uint8 (H, W, 3).
        mask: class ids uint8 (H, W), 0 background, 1..6 in the order of `CLASSES`, and a void ring
            around every animal.
        instances: uint8 (H, W), 0, 1..n in drawing order, and the same void ring.
        labels: the sorted class ids in the mask.

    """

    image: Array
    mask: Array
    instances: Array
    labels: tuple[int, ...]


def draw_scene(rng: Rng, size: int) -> Scene:
    """Draw 1 to 3 animals on size x size pixels (at least 32)."""
    classes = choose_classes(rng)
    canvas = draw_ground(rng, _choose_grounds(rng, ANIMALS[classes[0] - 1].habitat), size)
    canvas = add_clutter(rng, canvas)
    figures, instances = _place(rng, classes, size)
    for figure in figures:
        canvas = blend(canvas, figure.colour, figure.cover)
    ring = void_ring(instances)
    class_of = np.array([0, *(figure.class_id for figure in figures)], np.uint8)
    mask = np.where(ring, VOID, class_of[instances]).astype(np.uint8)
    labels = tuple(int(c) for c in np.unique(mask[(mask > 0) & (mask < VOID)]))
    instances = np.where(ring, VOID, instances).astype(np.uint8)
    return Scene(photograph(rng, canvas), mask, instances, labels)


def choose_classes(rng: Rng) -> list[int]:
    """Draw the class ids of 1 to 3 animals."""
    count = 1 + int(rng.choice(len(COUNT_PROBABILITIES), p=COUNT_PROBABILITIES))
    mixed = rng.random() < MIXED_PROBABILITY
    chosen = rng.permutation(len(ANIMALS))[:count] + 1
    return [int(c) for c in (chosen if mixed else np.repeat(chosen[0], count))]


def _choose_grounds(rng: Rng, habitat: str) -> tuple[str, str]:
    """The main ground, and another one that may cover one side of it."""
    others = [str(ground) for ground in rng.permutation([g for g in GROUNDS if g != habitat])]
    return (habitat, others[0]) if rng.random() < HABITAT_PROBABILITY else (others[0], others[1])


def _place(rng: Rng, classes: list[int], size: int) -> tuple[list[Figure], Array]:
    """Place animals where they fit, later ones in front; instances (H, W) have no void ring."""
    figures: list[Figure] = []
    instances = np.zeros((size, size), np.uint8)
    for class_id in classes:
        for _ in range(MAX_TRIES):
            length = rng.uniform(38, 92 - 6 * len(classes)) / 128 * size
            figure = draw_animal(rng, class_id, length, rng.uniform(0.1, 0.9, 2) * size, size)
            after = np.where(figure.cover > 0.5, len(figures) + 1, instances).astype(np.uint8)
            areas = [*(f.cover > 0.5 for f in figures), figure.cover > 0.5]
            if _inside(figure, length) and _all_visible(after, areas):
                figures.append(figure)
                instances = after
                break
    return figures, instances


def _inside(figure: Figure, length: float) -> bool:
    """Whether enough of a figure is in the frame; a whole one covers about 0.32 · length²."""
    return (figure.cover > 0.5).sum() >= MIN_INSIDE * 0.32 * length**2


def _all_visible(instances: Array, areas: list[Array]) -> bool:
    visible = np.bincount(instances.ravel(), minlength=len(areas) + 1)[1:]
    return all(visible >= MIN_VISIBLE * np.array([area.sum() for area in areas]))


def void_ring(instances: Array) -> Array:
    """Pixels (H, W) bool next to another region, on both sides of the boundary."""
    cross = ndimage.generate_binary_structure(2, 1)
    highest = ndimage.grey_dilation(instances, footprint=cross)
    return highest != ndimage.grey_erosion(instances, footprint=cross)
