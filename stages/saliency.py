"""Saliency maps of the train images: without training, by a network, or read from a folder."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from seedbed.data.file_names import IMAGES, MASKS, MatchedFolder
from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry, Index
from seedbed.data.lists import shard_of
from seedbed.formats.grey import read_grey
from seedbed.formats.levels import quantise
from seedbed.formats.maps import write_maps
from seedbed.inference.learned_saliency import learned_saliency
from seedbed.methods.saliency import saliency as compute_saliency
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import ordered_map
from stages.command import Data, Workers, run_stage
from stages.settings import SaliencySettings

DARK = 1  # of 255: the highest level of maps of 0 and 1, and of 0 to 255 in files of 16 bits


def saliency(
    *,
    index: Annotated[Path, "dataset/index.json"],
    shard: Annotated[str, "which part of the images, as 1-of-1"],
    output: Annotated[Path, "to write: maps (H, W) uint8"],
    settings: SaliencySettings,
    data: Data,
    workers: Workers,
) -> None:
    """Write the saliency map of each image."""
    train = Index.load(index).split("train")
    entries = shard_of(train, shard)
    if settings.maps:
        names = [entry.id for entry in train]
        folder = MatchedFolder(data / settings.maps, names, (*MASKS, *IMAGES))
        work = partial(read_map, folder=folder)
    elif settings.model:
        work = partial(learned_map, data=data, model=data / settings.model)
    else:
        work = partial(computed_map, data=data, superpixels=settings.superpixels)
    results = ordered_map(work, entries, workers)
    with write_maps(output, levels=255, settings=settings.model_dump_json()) as maps:
        highest = 0
        for entry, saliency_map in zip(entries, results, strict=True):
            maps.put(entry.id, saliency_map)
            highest = max(highest, int(saliency_map.max(initial=0)))
        if settings.maps and entries and highest <= DARK:
            done = {entry.id for entry in entries}
            others = (read_map(entry, folder=folder) for entry in train if entry.id not in done)
            ensure_bright(others, data / settings.maps)


def computed_map(entry: ImageEntry, *, data: Path, superpixels: int) -> np.ndarray:
    """Saliency map of one image, (H, W) uint8."""
    return quantise(compute_saliency(read_entry(data, entry), superpixels=superpixels))


def learned_map(entry: ImageEntry, *, data: Path, model: Path) -> np.ndarray:
    """Saliency map of one image by the network of an ONNX file, (H, W) uint8."""
    return quantise(learned_saliency(model)(read_entry(data, entry)))


def read_map(entry: ImageEntry, *, folder: Path | MatchedFolder) -> np.ndarray:
    """Saliency map of one image from a picture of its size, (H, W) uint8."""
    path, size = folder / f"{entry.id}.png", (entry.height, entry.width)
    saliency_map = read_grey(path)
    if saliency_map.shape != size:
        raise UserError(
            f"{path}: size {saliency_map.shape} is not the image's {size}; "
            "give maps of the images' own sizes"
        )
    return quantise(saliency_map)


def ensure_bright(maps: Iterable[np.ndarray], folder: Path) -> None:
    """Raise UserError if none of the maps that other shards read has a level above DARK either.

    Single maps may be empty, but where all are, other numbers are meant: 1, or 255 in 16 bits.
    """
    if not any(int(saliency_map.max(initial=0)) > DARK for saliency_map in maps):
        raise UserError(
            f"{folder}: no map has a level above {DARK} of 255, so nothing would be salient; save "
            "what is salient as 255, in files of 16 bits as 65535"
        )


if __name__ == "__main__":
    run_stage(saliency)
