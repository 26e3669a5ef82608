"""Group-WSSS' attention maps, files `{id}_{class}.png` (Li et al., AAAI 2021).

The class in the name is the data set's own id (1..n) minus one.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.formats.grey import read_grey
from seedbed.formats.levels import quantise
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError


def write_attention(folder: Path, image_id: str, maps: Mapping[int, np.ndarray]) -> None:
    """Write an image's maps as 8-bit grey PNGs: source id (1..n) → (H, W) in [0, 1]."""
    for source_id, values in maps.items():
        with atomic(_path(folder, image_id, source_id)) as temporary:
            Image.fromarray(quantise(values)).save(temporary)


def read_attention(
    folder: Path, image_id: str, source_ids: Sequence[int], size: tuple[int, int]
) -> np.ndarray:
    """Read an image's maps of the given classes.

    As in Group-WSSS' own code, a class without a file has a map of zeros.

    Args:
        folder: where the files are.
        image_id: the image.
        source_ids: the classes (1..n).
        size: of the image (H, W); maps have this size or are square grids.

    Returns:
        float32 (K, h, w) in [0, 1].

    Raises:
        UserError: if no class has a file, a file is broken, or the sizes are wrong or differ.

    """
    paths = {c: _path(folder, image_id, c) for c in source_ids}
    maps = {c: read_grey(path) for c, path in paths.items() if path.exists()}
    if not maps:
        names = ", ".join(path.name for path in paths.values())
        raise UserError(f"{folder} has no attention map of {image_id} ({names}): put them there")
    first, shape = next((paths[c], values.shape) for c, values in maps.items())
    if shape != size and shape[0] != shape[1]:
        raise UserError(
            f"the map {first} is {shape}: make it its image's size {size}, or a square grid"
        )
    for c, values in maps.items():
        if values.shape != shape:
            raise UserError(
                f"the map {paths[c]} is {values.shape}, and {first.name} {shape}: "
                "give all maps of an image one size"
            )
    return np.stack([maps.get(c, np.zeros(shape, dtype=np.float32)) for c in source_ids])


def _path(folder: Path, image_id: str, source_id: int) -> Path:
    return folder / f"{image_id}_{source_id - 1}.png"
