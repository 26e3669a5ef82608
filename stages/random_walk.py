"""Class scores of the train images by PSA's random walk from class activation maps."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry, Index
from seedbed.data.lists import shard_of
from seedbed.formats.maps import Maps, write_maps
from seedbed.inference.precision import autocast, warn_slow_bfloat16
from seedbed.methods.psa.walk import grid_to_pixels, has_inner_cells, pad_to_cells, walk_scores
from seedbed.methods.psa.walk import random_walk as walk
from seedbed.models.heads.affinity import AffinityNetwork
from seedbed.models.weights import load_network_cached
from seedbed.runtime.devices import pick_device
from seedbed.runtime.pools import device_map
from stages.command import Data, Device, Workers, run_stage
from stages.settings import RandomWalkSettings


def random_walk(
    *,
    index: Annotated[Path, "dataset/index.json"],
    cams: Annotated[list[Path], "cam/*.h5, the shard's"],
    weights: Annotated[Path, "affinity/weights.pt"],
    shard: Annotated[str, "which part of the images, as 1-of-1"],
    output: Annotated[Path, "to write: scores (1 + K of the image, H, W) float16, of sum 1"],
    settings: RandomWalkSettings,
    data: Data,
    device: Device,
    workers: Workers,
) -> None:
    """Write the scores of background and of each image's own classes."""
    entries = shard_of(Index.load(index).split("train"), shard)
    place = pick_device(device)
    warn_slow_bfloat16(place, settings.precision)
    # Loaded before the workers fork, so that they share it.
    model = load_network_cached(weights, place, "affinity")
    read = partial(read_inputs, cams=Maps(cams), data=data)
    work = partial(walk_image, model=model, settings=settings, device=place)
    results = device_map(read, work, entries, place, workers)
    with write_maps(output, settings=settings.model_dump_json()) as maps:
        for entry, scores in zip(entries, results, strict=True):
            maps.put(entry.id, scores, classes=[0, *entry.labels])
    if not settings.border_sources:
        tell_unlinked(entries)


def tell_unlinked(entries: Sequence[ImageEntry]) -> None:
    """Say which images are so small that the walk left their scores as they were."""
    labelled = [entry for entry in entries if entry.labels]
    small = [e.id for e in labelled if not has_inner_cells((e.height, e.width))]
    if small:
        print(
            f"{len(small)} of {len(labelled)} images are too small for the random walk, as"
            f" {small[0]}: their scores are those of the CAMs; with random_walk.border_sources:"
            " true their cells are linked"
        )


def read_inputs(
    entry: ImageEntry, *, cams: Maps, data: Path
) -> tuple[np.ndarray, np.ndarray] | None:
    """The image (H, W, 3) uint8 and its CAMs (K, H, W); None if it has no labels."""
    return (read_entry(data, entry), cams.floats(entry.id)) if entry.labels else None


@torch.no_grad()
def walk_image(
    entry: ImageEntry,
    inputs: tuple[np.ndarray, np.ndarray] | None,
    *,
    model: AffinityNetwork,
    settings: RandomWalkSettings,
    device: torch.device,
) -> np.ndarray:
    """Scores of one image, (1 + K, H, W) float16, normalised to sum to 1 at each pixel."""
    if inputs is None:
        return np.ones((1, entry.height, entry.width), dtype=np.float16)
    pixels, cam = inputs
    image = torch.from_numpy(pixels).to(device).permute(2, 0, 1)[None]
    with autocast(device, settings.precision):
        affinities = model.affinities(
            pad_to_cells(model.preprocess(image)), border_sources=settings.border_sources
        )
    initial = walk_scores(torch.from_numpy(cam).to(device), settings.alpha)
    walked = walk(affinities[0], initial, beta=settings.beta, steps=settings.steps)
    scores = grid_to_pixels(walked, (entry.height, entry.width))
    # Not 8 bits, which would make close scores equal, and the lowest class win.
    return (scores / scores.sum(0)).half().cpu().numpy()


if __name__ == "__main__":
    run_stage(random_walk)
