"""Small pictures of an image's maps and masks, side by side in strips that the page cuts up."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.formats.palette import VOC_PALETTE, VOID

# Ids of an error map, above those of all classes, with colours that colour-blind readers can tell
# apart (Okabe & Ito 2008).
OUTCOMES = {
    "background, correct": (250, (0, 0, 0)),
    "object, correct": (251, (128, 128, 128)),
    "false negative: object predicted as background or void": (252, (86, 180, 233)),
    "false positive: background predicted as object": (253, (230, 159, 0)),
    "object predicted as another class": (254, (204, 121, 167)),
}
CORRECT_BACKGROUND, CORRECT_OBJECT, FALSE_NEGATIVE, FALSE_POSITIVE, CONFUSED = (
    id_ for id_, _ in OUTCOMES.values()
)
MAX_CLASSES = CORRECT_BACKGROUND
# Colours (256, 3) uint8 of masks and error maps.
MASK_PALETTE = VOC_PALETTE.copy()
MASK_PALETTE[[id_ for id_, _ in OUTCOMES.values()]] = [colour for _, colour in OUTCOMES.values()]


def fit_size(height: int, width: int, side: int) -> tuple[int, int]:
    """Size with the longer side at most `side`, aspect ratio kept, never enlarged, at least 1."""
    scale = min(1.0, side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def downsample(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a photo (H, W, 3) uint8 to (h, w, 3) with a box filter."""
    return np.array(Image.fromarray(image).resize(size[::-1], Image.Resampling.BOX))


def resize_nearest(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize maps (..., H, W) to (..., h, w) by the nearest pixels."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int)
        for new, old in zip(size, maps.shape[-2:], strict=True)
    )
    return maps[..., rows[:, None], columns]


def class_picture(maps: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Show class maps (K, H, W) in [0, 1]: colour by the highest class, brightness by its value.

    `labels` are the K class ids. Returns (H, W, 3) uint8, black if K is 0.
    """
    if not len(maps):
        return np.zeros((*maps.shape[1:], 3), np.uint8)
    colours = VOC_PALETTE[np.asarray(labels)[maps.argmax(axis=0)]]
    return (colours * maps.max(axis=0).clip(0, 1)[..., None]).astype(np.uint8)


def grey_picture(map_: np.ndarray) -> np.ndarray:
    """Show a map (H, W) in [0, 1] from black to white: (H, W, 3) uint8."""
    return np.repeat((map_.clip(0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


def error_map(truth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Outcome of each pixel (H, W) uint8: an id of `OUTCOMES`, void where the truth is void."""
    equal = truth == mask
    cases = [truth == VOID, equal & (truth == 0), equal, (mask == 0) | (mask == VOID), truth == 0]
    ids = [VOID, CORRECT_BACKGROUND, CORRECT_OBJECT, FALSE_NEGATIVE, FALSE_POSITIVE]
    return np.select(cases, ids, CONFUSED).astype(np.uint8)


def write_photo_strip(path: Path, pictures: Sequence[np.ndarray]) -> None:
    """Write pictures (h, w, 3) uint8 of one size from left to right as JPEG."""
    Image.fromarray(np.hstack(pictures)).save(path, "JPEG", quality=85, subsampling=0)


def write_mask_strip(path: Path, masks: Sequence[np.ndarray]) -> None:
    """Write masks and error maps (h, w) uint8 from left to right as an 8-bit palette PNG."""
    image = Image.fromarray(np.hstack(masks))
    image.putpalette(MASK_PALETTE.tobytes())
    image.save(path, "PNG")
