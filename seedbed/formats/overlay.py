"""Masks and cues painted over their photo, to look at."""

from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.formats.masks import VOC_PALETTE
from seedbed.runtime.atomic import atomic


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Paint a mask (H, W) uint8 in VOC's colours over an image (H, W, 3) uint8: same shape.

    Background shows the image as it is, an object half the image and half its class' colour, and
    the colour alone along its inner edge, a pixel wide for every 250 of the image's shorter side.
    """
    colour = VOC_PALETTE[mask]
    tinted = image // 2 + colour // 2
    painted = np.where(_inner_edge(mask)[..., None], colour, tinted)
    return np.where(mask[..., None] > 0, painted, image)


def _inner_edge(mask: np.ndarray) -> np.ndarray:
    """Pixels (H, W) bool that a step along a row or a column takes to another class."""
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
    """Write `overlay` as a JPEG."""
    with atomic(path) as temporary:
        Image.fromarray(overlay(image, mask)).save(temporary, "JPEG", quality=90, subsampling=0)


def cue_preview(image: np.ndarray, cues: np.ndarray) -> np.ndarray:
    """Paint cues (C, g, g) in VOC's colours over an image (H, W, 3) uint8: same shape.

    Cells without a cue show the image, paler; background cues darken it; of several classes the
    highest id shows.
    """
    rows, columns = (
        np.rint(np.linspace(0, cells - 1, pixels)).astype(int)
        for cells, pixels in zip(cues.shape[1:], image.shape[:2], strict=True)
    )
    cues = cues[:, rows[:, None], columns]
    colour = VOC_PALETTE[len(cues) - 1 - cues[::-1].argmax(axis=0)]
    seeded = cues.any(axis=0)[..., None]
    return np.where(seeded, image // 4 + colour // 4 * 3, image // 2 + 64).astype(np.uint8)
