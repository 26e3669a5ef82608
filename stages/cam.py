"""Class activation maps of the train images, from the classifier, or PSA's or IRN's files."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from seedbed.data.classes import ClassTable
from seedbed.data.file_names import MatchedFolder
from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry, Index
from seedbed.data.lists import shard_of
from seedbed.formats.levels import quantise
from seedbed.formats.maps import write_maps
from seedbed.formats.psa import read_cam
from seedbed.inference.multiscale import MultiScale, check_input_sizes, multi_scale
from seedbed.inference.precision import warn_slow_bfloat16
from seedbed.methods.cam import combine_scales, normalise_cam
from seedbed.models.network import Network
from seedbed.models.weights import load_network_cached
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
    """Write the class activation maps of each image's own classes."""
    dataset = Index.load(index)
    train = dataset.split("train")
    entries = shard_of(train, shard)
    if settings.maps:
        folder = MatchedFolder(data / settings.maps, [entry.id for entry in train], (".npy",))
        work = partial(read_maps, folder=folder, table=dataset.table)
        results = ordered_map(work, entries, workers)
    elif weights:
        results = computed_maps(entries, weights, settings, data, pick_device(device), workers)
    else:
        raise UserError("no maps: give --weights, or set cam.maps to a folder")
    with write_maps(output, levels=255, settings=settings.model_dump_json()) as maps:
        for entry, cams in zip(entries, results, strict=True):
            maps.put(entry.id, cams, classes=list(entry.labels))


def computed_maps(
    entries: list[ImageEntry],
    weights: Path,
    settings: CamSettings,
    data: Path,
    device: torch.device,
    workers: int,
) -> Iterator[np.ndarray]:
    """Yield the maps that the classifier gives for each image."""
    # Loaded before the workers fork, so that they share it.
    model = load_network_cached(weights, device, "cls")
    options = MultiScale(
        scales=settings.scales,
        flip=settings.flip,
        size=settings.size,
        resampling=settings.resampling,
        precision=settings.precision,
    )
    warn_slow_bfloat16(device, settings.precision)
    check_input_sizes(entries, model, options)
    work = partial(activation_maps, model=model, options=options, settings=settings, device=device)
    return device_map(lambda entry: read_entry(data, entry), work, entries, device, workers)


@torch.no_grad()
def activation_maps(
    entry: ImageEntry,
    image: np.ndarray,
    *,
    model: Network,
    options: MultiScale,
    settings: CamSettings,
    device: torch.device,
) -> np.ndarray:
    """Class activation maps of one image, (K of the image, H, W) uint8, maximum 255 each."""
    if not entry.labels:
        return entry.no_maps()
    channels = [c - 1 for c in entry.labels]
    outputs = multi_scale(
        lambda images: model.maps(model.preprocess(images))[:, channels], image, options, device
    )
    maps = combine_scales(
        outputs,
        (entry.height, entry.width),
        power=settings.power,
        resampling=settings.map_resampling,
    )
    return quantise(normalise_cam(maps).cpu().numpy())


def read_maps(entry: ImageEntry, *, folder: Path | MatchedFolder, table: ClassTable) -> np.ndarray:
    """Class activation maps of one image from a file, (K of the image, H, W) uint8."""
    if not entry.labels:
        return entry.no_maps()
    path, size = folder / f"{entry.id}.npy", (entry.height, entry.width)
    cams = read_cam(path)
    source_ids = table.source_ids[list(entry.labels)].tolist()
    if missing := [source_id for source_id in source_ids if source_id not in cams]:
        name = table.names[missing[0] - 1]
        raise UserError(f"{path} has no map of {name} (key {missing[0] - 1}): make it again")
    maps = np.stack([cams[source_id] for source_id in source_ids])
    if (shape := maps.shape[1:]) != size:
        raise UserError(f"{path} has maps of {shape}, its image is {size}: make it again")
    return quantise(normalise_cam(torch.from_numpy(maps)).numpy())


if __name__ == "__main__":
    run_stage(cam)
