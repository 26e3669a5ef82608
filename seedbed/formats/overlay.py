"""Pictures of masks and cues drawn over their image."""

from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.formats.palette import VOC_PALETTE
from seedbed.runtime.atomic import atomic

MAX_SIDE = 4096  # of the overlay of a large image, in pixels


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw a mask over an image in VOC's colours.

    Background shows the image; objects show the mean of image and class colour, and the class
    colour along their edge, which is one pixel wide plus one per 250 pixels of the shorter side.

    Args:
        image: (H, W, 3) uint8.
        mask: class ids (H, W) uint8.

    Returns:
        (H, W, 3) uint8.

    """
    colour = VOC_PALETTE[mask]
    tinted = image // 2 + colour // 2
    objects = np.where(_inner_edge(mask)[..., None], colour, tinted)
    return np.where(mask[..., None] > 0, objects, image)


def _inner_edge(mask: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool with a pixel of another class close by in their row or column."""
    reach = 1 + min(mask.shape) // 250
    edge = np.zeros(mask.shape, dtype=bool)
    for step in range(1, reach + 1):
        down = mask[step:] != mask[:-step]
        right = mask[:, step:] != mask[:, :-step]
        edge[step:] |= down
        edge[:-step] |= down
        edge[:, step:] |= right
        edge[:, :-step] |= right
    return edge


def write_overlay(path: Path, image: np.ndarray, mask: np.ndarray) -> None:
    """Write the picture that `overlay` makes as JPEG."""
    with atomic(path) as temporary:
        Image.fromarray(overlay(image, mask)).save(temporary, "JPEG", quality=90, subsampling=0)


class OverlayRows:
    """The overlay of a large image, whose rows come from top to bottom.

    It shows every k-th row and column, so that no side is longer than MAX_SIDE; k is 1 for an image
    that is no larger.

    Args:
        size: (H, W) of the image.

    """

    def __init__(self, size: tuple[int, int]) -> None:
        self._step = -(-max(size) // MAX_SIDE)
        self._next = self._step // 2
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, image: np.ndarray, mask: np.ndarray) -> None:
        """Add rows (h, W, 3) uint8 of the image, and their class ids (h, W) uint8."""
        rows = np.arange(self._next, len(mask), self._step)
        columns = np.arange(min(self._step // 2, mask.shape[1] - 1), mask.shape[1], self._step)
        chosen = np.ix_(rows, columns)
        self._parts.append((image[chosen], mask[chosen]))
        self._next += len(rows) * self._step - len(mask)

    def write(self, path: Path) -> None:
        """Write the overlay of all rows as JPEG."""
        write_overlay(path, *map(np.concatenate, zip(*self._parts, strict=True)))


def cue_preview(image: np.ndarray, cues: np.ndarray) -> np.ndarray:
    """Draw cues over an image in VOC's colours.

    Cells without a cue show the image at half contrast. Of several classes in a cell, the highest
    id is drawn; background is black.

    Args:
        image: (H, W, 3) uint8.
        cues: (C, g, g), non-zero where a class has a cue.

    Returns:
        (H, W, 3) uint8.

    """
    rows, columns = (
        np.rint(np.linspace(0, cells - 1, pixels)).astype(int)
        for cells, pixels in zip(cues.shape[1:], image.shape[:2], strict=True)
    )
    cues = cues[:, rows[:, None], columns]
    colour = VOC_PALETTE[len(cues) - 1 - cues[::-1].argmax(axis=0)]
    seeded = cues.any(axis=0)[..., None]
    return np.where(seeded, image // 4 + colour // 4 * 3, image // 2 + 64).astype(np.uint8)
