"""Class activation maps of the train images, over scales and flip."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from seedbed.artefacts import quantise, shard_of, write_maps
from seedbed.cam import combine_scales, normalise_cam
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.device import ordered_map, pick_device
from seedbed.inference import multi_scale
from seedbed.weights import network_on
from stages.command import Data, Device, Workers, run_stage
from stages.settings import CamSettings


def cam(
    *,
    index: Annotated[Path, "dataset/index.json"],
    weights: Annotated[Path, "classifier/weights.pt"],
    shard: Annotated[str, "which part of the images, as 1-of-1"],
    output: Annotated[Path, "to write: maps (K of the image, H, W) uint8"],
    settings: CamSettings,
    data: Data,
    device: Device,
    workers: Workers,
) -> None:
    """Write the maps of each image's own classes."""
    entries = shard_of(Index.load(index).split("train"), shard)
    place = pick_device(device)
    work = partial(activation_maps, weights=weights, data=data, settings=settings, device=place)
    results = ordered_map(work, entries, workers if place.type == "cpu" else 1)
    with write_maps(output, levels=255, settings=settings.model_dump_json()) as maps:
        for entry, found in zip(entries, results, strict=True):
            maps.put(entry.id, found, classes=list(entry.labels))


@torch.no_grad()
def activation_maps(
    entry: ImageEntry, *, weights: Path, data: Path, settings: CamSettings, device: torch.device
) -> np.ndarray:
    """Maps (K of the image, H, W) uint8, each divided by its maximum."""
    model = network_on(weights, device)
    tagged = [c - 1 for c in entry.labels]
    outputs = multi_scale(
        lambda images: model.maps(model.preprocess(images))[:, tagged],
        read_image(data / entry.path),
        scales=settings.scales,
        flip=settings.flip,
        size=settings.size,
        device=device,
    )
    maps = combine_scales(outputs, (entry.height, entry.width), settings.power)
    return quantise(normalise_cam(maps).cpu().numpy())


def main() -> None:
    """Run from the command line."""
    run_stage(cam)


if __name__ == "__main__":
    main()
