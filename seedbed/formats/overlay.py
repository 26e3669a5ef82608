"""Pictures of masks and cues drawn over their image."""

from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.formats.masks import VOC_PALETTE
from seedbed.runtime.atomic import atomic


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
