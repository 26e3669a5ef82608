"""Class activation maps of the train images: over scales and flip, or taken from a folder."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from seedbed.data.classes import ClassTable
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import quantise, shard_of, write_maps
from seedbed.formats.psa import read_cam
from seedbed.inference.multiscale import check_sides, multi_scale
from seedbed.methods.cam import combine_scales, normalise_cam
from seedbed.models import Network
from seedbed.models.weights import network_on
from seedbed.runtime.devices import pick_device
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import device_map, ordered_map
from stages.command import Data, Device, Workers, run_stage
from stages.settings import CamSettings


def cam(
    *,
    index: Annotated[Path, "dataset/index.json"],
    shard: Annotated[str, "which part of the images, as 1-of-1"],
    output: Annotated[Path, "to write: maps (K of the image, H, W) uint8"],
    settings: CamSettings,
    data: Data,
    device: Device,
    workers: Workers,
    weights: Annotated[Path | None, "classifier/weights.pt, unless the settings name maps"] = None,
) -> None:
    """Write the maps of each image's own classes."""
    dataset = Index.load(index)
    entries = shard_of(dataset.split("train"), shard)
    if settings.maps:
        work = partial(given_maps, folder=data / settings.maps, table=dataset.table)
        results = ordered_map(work, entries, workers)
    elif weights:
        place = pick_device(device)
        model = network_on(weights, place)  # before the fork: its workers share it
        check_sides(entries, model, settings.size, settings.scales)
        work = partial(activation_maps, model=model, settings=settings, device=place)
        results = device_map(
            lambda entry: read_image(data / entry.path), work, entries, place, workers
        )
    else:
        raise UserError("no maps: give --weights, or set cam.maps to a folder")
    with write_maps(output, levels=255, settings=settings.model_dump_json()) as maps:
        for entry, found in zip(entries, results, strict=True):
            maps.put(entry.id, found, classes=list(entry.labels))


@torch.no_grad()
def activation_maps(
    entry: ImageEntry,
    image: np.ndarray,
    *,
    model: Network,
    settings: CamSettings,
    device: torch.device,
) -> np.ndarray:
    """Maps (K of the image, H, W) uint8, each divided by its maximum."""
    tagged = [c - 1 for c in entry.labels]
    outputs = multi_scale(
        lambda images: model.maps(model.preprocess(images))[:, tagged],
        image,
        scales=settings.scales,
        flip=settings.flip,
        size=settings.size,
        resampling=settings.resampling,
        device=device,
    )
    size = (entry.height, entry.width)
    maps = combine_scales(outputs, size, settings.power, settings.map_resampling)
    return quantise(normalise_cam(maps).cpu().numpy())


def given_maps(entry: ImageEntry, *, folder: Path, table: ClassTable) -> np.ndarray:
    """Maps (K of the image, H, W) uint8 from PSA's file, each divided by its maximum."""
    path, size = folder / f"{entry.id}.npy", (entry.height, entry.width)
    found = read_cam(path)
    if (shape := next(iter(found.values())).shape) != size:
        raise UserError(f"{path} has maps of {shape}, its image is {size}: make it again")
    wanted = table.source_ids[list(entry.labels)].tolist()
    if missing := [source_id for source_id in wanted if source_id not in found]:
        name = table.names[missing[0] - 1]
        raise UserError(f"{path} has no map of {name} (key {missing[0] - 1}): make it again")
    maps = np.stack([found[source_id] for source_id in wanted])
    return quantise(normalise_cam(torch.from_numpy(maps)).numpy())


if __name__ == "__main__":
    run_stage(cam)
