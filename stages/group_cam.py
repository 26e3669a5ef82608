"""Attention maps of the group network, or of a folder, at image size."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seedbed.artefacts import Maps, quantise, shard_of, write_maps
from seedbed.attention_files import read_attention
from seedbed.cam import combine_scales, normalise_cam
from seedbed.data.classes import ClassTable
from seedbed.data.groups import GroupIndex
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.device import ordered_map, pick_device
from seedbed.errors import UserError
from seedbed.weights import network_on
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
    """Write the maps of each image's own classes."""
    dataset = Index.load(index)
    train = dataset.split("train")
    entries = shard_of(train, shard)
    if settings.maps:
        folder = data / settings.maps
        work = partial(given_maps, folder=folder, table=dataset.table, settings=settings)
        results = ordered_map(work, entries, workers)
    elif weights and kept:
        place = pick_device(device)
        miner = Miner(train, weights, kept, group_size, settings, data, place)
        positions = shard_of(range(len(train)), shard)
        results = ordered_map(miner.maps, positions, workers if place.type == "cpu" else 1)
    else:
        raise UserError("no maps: give --weights and --kept, or set group_cam.maps to a folder")
    with write_maps(output, levels=255, settings=settings.model_dump_json()) as maps:
        for entry, found in zip(entries, results, strict=True):
            maps.put(entry.id, found, classes=list(entry.labels))


def finish(found: list[Tensor], settings: GroupCamSettings) -> np.ndarray:
    """Maps (K, H, W) uint8 from one or several sources, each divided by its maximum."""
    maps = torch.stack([normalise_cam(maps.cpu()) for maps in found]).amax(0) ** settings.power
    return quantise(maps.numpy())


def given_maps(
    entry: ImageEntry, *, folder: Path, table: ClassTable, settings: GroupCamSettings
) -> np.ndarray:
    """Maps (K of the image, H, W) uint8 from Group-WSSS' files, as those kept while training."""
    size = (entry.height, entry.width)
    found = read_attention(folder, entry.id, table.source_ids[list(entry.labels)].tolist(), size)
    return finish([combine_scales([torch.from_numpy(found)], size)], settings)


class Miner:
    """Maps of one image after the other, by its position among the train images."""

    def __init__(
        self,
        entries: list[ImageEntry],
        weights: Path,
        kept: Path,
        group_size: int,
        settings: GroupCamSettings,
        data: Path,
        device: torch.device,
    ) -> None:
        self.entries = entries
        self.groups = GroupIndex([entry.labels for entry in entries])
        self.weights = weights
        self.kept = Maps([kept])
        self.group_size = group_size
        self.settings = settings
        self.data = data
        self.device = device

    @torch.no_grad()
    def maps(self, position: int) -> np.ndarray:
        """Maps (K of the image, H, W) uint8, each divided by its maximum."""
        entry = self.entries[position]
        size = (entry.height, entry.width)
        found = []
        if self.settings.source != "network":
            kept = torch.from_numpy(self.kept.floats(entry.id))
            found.append(combine_scales([kept], size))
        if self.settings.source != "accumulated":
            found.append(combine_scales(self._seen_in_groups(position), size))
        return finish(found, self.settings)

    def _seen_in_groups(self, position: int) -> list[Tensor]:
        """Maps (K of the image, h, w) from several groups, each plain and mirrored."""
        model = network_on(self.weights, self.device)
        rng = np.random.default_rng([self.settings.seed, position])
        torch.manual_seed(self.settings.seed * 1_000_003 + position)  # of a dropout that stays on
        tagged = [c - 1 for c in self.entries[position].labels]
        outputs = []
        for _ in range(self.settings.groups):
            group = self.groups.group(position, self.group_size, rng)
            images = torch.stack([self._square(member) for member in group])
            both = model.preprocess(torch.cat([images, images.flip(-1)]))
            maps = model(both.unflatten(0, (2, self.group_size))).maps[:, 0, tagged].float()
            outputs += [maps[0], maps[1].flip(-1)]
        return outputs

    def _square(self, position: int) -> Tensor:
        image = torch.from_numpy(read_image(self.data / self.entries[position].path))
        pixels = image.to(self.device).permute(2, 0, 1)[None].float()
        size = (self.settings.size, self.settings.size)
        return F.interpolate(pixels, size=size, mode="bilinear", antialias=True)[0]


def main() -> None:
    """Run from the command line."""
    run_stage(group_cam)


if __name__ == "__main__":
    main()
