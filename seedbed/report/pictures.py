"""Small pictures of an image's maps and masks, put side by side in strips that a page cuts up."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.formats.masks import VOC_PALETTE

VOID = 255
# Class ids beyond those of a data set stand for what became of a pixel; the colours can be told
# apart by the colour-blind (Okabe & Ito 2008).
OUTCOMES = {
    "background, right": (250, (0, 0, 0)),
    "object, right": (251, (128, 128, 128)),
    "missed: object called background, or void": (252, (86, 180, 233)),
    "false: background called object": (253, (230, 159, 0)),
    "another class": (254, (204, 121, 167)),
}
RIGHT_BACKGROUND, RIGHT_OBJECT, MISSED, FALSE, CONFUSED = (code for code, _ in OUTCOMES.values())
MOST_CLASSES = RIGHT_BACKGROUND


def fitted(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width with a longer side of at most `side`, proportions kept, none below 1."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrink(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample a photo (H, W, 3) uint8 to (h, w, 3), averaging over what falls together."""
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))


def sample(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Take the nearest pixels of maps (..., H, W): (..., h, w)."""
    rows, columns = (
        ((np.arange(wanted) + 0.5) * found / wanted).astype(int)
        for wanted, found in zip(size, maps.shape[-2:], strict=True)
    )
    return maps[..., rows[:, None], columns]


def class_picture(maps: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Paint the strongest of the class maps (K, H, W) in [0, 1]: colour by class, light by value.

    `labels` are the K class ids; without any the picture (H, W, 3) uint8 is black.
    """
    if not len(maps):
        return np.zeros((*maps.shape[1:], 3), np.uint8)
    colours = VOC_PALETTE[np.asarray(labels)[maps.argmax(axis=0)]]
    return (colours * maps.max(axis=0).clip(0, 1)[..., None]).astype(np.uint8)


def grey_picture(map_: np.ndarray) -> np.ndarray:
    """Show a map (H, W) in [0, 1] from black to white: (H, W, 3) uint8."""
    return np.repeat((map_.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def error_map(truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """What became of each pixel (H, W) uint8: a code of `OUTCOMES`, void where the truth is."""
    same = truth == mask
    cases = [truth == VOID, same & (truth == 0), same, (mask == 0) | (mask == VOID), truth == 0]
    codes = [VOID, RIGHT_BACKGROUND, RIGHT_OBJECT, MISSED, FALSE]
    return np.select(cases, codes, CONFUSED).astype(np.uint8)


def write_photo_strip(path: Path, pictures: Sequence[np.ndarray]) -> None:
    """Write pictures (h, w, 3) uint8 of one size from left to right as JPEG."""
    Image.fromarray(np.hstack(pictures)).save(path, "JPEG", quality=85, subsampling=0)


def write_mask_strip(path: Path, masks: Sequence[np.ndarray]) -> None:
    """Write masks (h, w) uint8, and codes of `OUTCOMES`, as an 8-bit palette PNG."""
    palette = VOC_PALETTE.copy()
    for code, colour in OUTCOMES.values():
        palette[code] = colour
    image = Image.fromarray(np.hstack(masks))
    image.putpalette(palette.tobytes())
    image.save(path, "PNG")
