"""Saliency maps of the train images: taken from a folder, or computed without training."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.grey import read_grey
from seedbed.formats.maps import quantise, shard_of, write_maps
from seedbed.methods.saliency import saliency as compute_saliency
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import ordered_map
from stages.command import Data, Workers, run_stage
from stages.settings import SaliencySettings


def saliency(
    *,
    index: Annotated[Path, "dataset/index.json"],
    shard: Annotated[str, "which part of the images, as 1-of-1"],
    output: Annotated[Path, "to write: maps (H, W) uint8"],
    settings: SaliencySettings,
    data: Data,
    workers: Workers,
) -> None:
    """Write a map an image."""
    entries = shard_of(Index.load(index).split("train"), shard)
    results = ordered_map(partial(saliency_map, data=data, settings=settings), entries, workers)
    with write_maps(output, levels=255, settings=settings.model_dump_json()) as maps:
        for entry, found in zip(entries, results, strict=True):
            maps.put(entry.id, found)


def saliency_map(entry: ImageEntry, *, data: Path, settings: SaliencySettings) -> np.ndarray:
    """A map (H, W) uint8."""
    if settings.maps is None:
        image = read_image(data / entry.path)
        return quantise(compute_saliency(image, superpixels=settings.superpixels))
    path = data / settings.maps / f"{entry.id}.png"
    given = read_grey(path)
    if given.shape != (entry.height, entry.width):
        raise UserError(
            f"{path}: size {given.shape} is not the image's {(entry.height, entry.width)}; "
            "give maps of the images' own sizes"
        )
    return quantise(given)


if __name__ == "__main__":
    run_stage(saliency)
