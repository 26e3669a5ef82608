"""Attention maps of the train images, from the group network or from Group-WSSS' files."""

from collections.abc import Sequence
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
from seedbed.data.text import count_with_examples
from seedbed.formats.group_wsss import read_attention
from seedbed.formats.maps import Maps, write_maps
from seedbed.inference.group_maps import GroupMaps, GroupNetworkPass, fuse_sources
from seedbed.inference.precision import warn_slow_bfloat16
from seedbed.methods.group_wsss.partners import GroupIndex
from seedbed.models.weights import load_network_cached
from seedbed.runtime.devices import pick_device
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import ordered_map
from stages.command import Data, Device, Workers, run_stage
from stages.settings import GroupCamSettings


def group_cam(
    *,
    index: Annotated[Path, "dataset/index.json"],
    shard: Annotated[str, "which part of the images, as 1-of-1"],
    output: Annotated[Path, "to write: maps (K of the image, H, W) uint8"],
    settings: GroupCamSettings,
    group_size: Annotated[int, "images in a group"],
    data: Data,
    device: Device,
    workers: Workers,
    weights: Annotated[Path | None, "group/weights.pt, unless the settings name maps"] = None,
    kept: Annotated[Path | None, "group/maps.h5, likewise"] = None,
) -> None:
    """Write the attention maps of each image's own classes."""
    dataset = Index.load(index)
    train = dataset.split("train")
    if settings.maps:
        entries = shard_of(train, shard)
        folder = map_folder(data / settings.maps, train, dataset.table)
        work = partial(read_maps, folder=folder, table=dataset.table, power=settings.power)
        results = zip(entries, ordered_map(work, entries, workers), strict=True)
    elif weights and kept:
        maps = attention_maps(train, weights, kept, group_size, settings, data, pick_device(device))
        results = maps.compute(shard_of(range(len(train)), shard), workers)
    else:
        raise UserError("no maps: give --weights and --kept, or set group_cam.maps to a folder")
    with write_maps(output, levels=255, settings=settings.model_dump_json()) as writer:
        for entry, attention in results:
            writer.put(entry.id, attention, classes=list(entry.labels))


def attention_maps(
    entries: list[ImageEntry],
    weights: Path,
    accumulated: Path,
    group_size: int,
    settings: GroupCamSettings,
    data: Path,
    device: torch.device,
) -> GroupMaps:
    """The maps of `settings.source`: accumulated while training, of a separate pass, or both."""
    network_pass = None
    warn_slow_bfloat16(device, settings.precision)
    if settings.source != "accumulated":
        network_pass = GroupNetworkPass(
            load_network_cached(weights, device, "group"),
            device,
            GroupIndex([entry.labels for entry in entries], draws=None),
            group_size=group_size,
            groups=settings.groups,
            size=settings.size,
            seed=settings.seed,
            precision=settings.precision,
        )
    stored = Maps([accumulated])
    return GroupMaps(
        entries,
        read_image=lambda entry: read_entry(data, entry),
        accumulated=None if settings.source == "network" else lambda entry: stored.floats(entry.id),
        network_pass=network_pass,
        power=settings.power,
        device=device,
    )


def map_folder(path: Path, entries: Sequence[ImageEntry], table: ClassTable) -> MatchedFolder:
    """A folder of Group-WSSS' files; prints how many are missing, which count as zeros."""
    names = [
        f"{entry.id}_{source_id - 1}"
        for entry in entries
        for source_id in table.source_ids[list(entry.labels)].tolist()
    ]
    folder = MatchedFolder(path, names, (".png",))
    missing = [f"{name}.png" for name in names if name not in folder.paths]
    for line in count_with_examples(f"maps are not in {path} and count as zeros", missing):
        print(line)
    return folder


def read_maps(
    entry: ImageEntry, *, folder: Path | MatchedFolder, table: ClassTable, power: float
) -> np.ndarray:
    """Attention maps of one image from Group-WSSS' files, (K of the image, H, W) uint8."""
    if not entry.labels:
        return entry.no_maps()
    size = (entry.height, entry.width)
    source_ids = table.source_ids[list(entry.labels)].tolist()
    maps = torch.from_numpy(read_attention(folder, entry.id, source_ids, size))
    return fuse_sources([[maps]], size, power)


if __name__ == "__main__":
    run_stage(group_cam)
