"""Attention maps of the group network, or of a folder, at image size."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from seedbed.data.classes import ClassTable
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.group_wsss import read_attention
from seedbed.formats.maps import Maps, quantise, shard_of, write_maps
from seedbed.inference.precision import mixed_precision
from seedbed.methods.cam import combine_scales, normalise_cam
from seedbed.methods.group_wsss.partners import GroupIndex
from seedbed.methods.resampling import resize
from seedbed.models.heads.group import GroupNetwork, between
from seedbed.models.weights import network_on
from seedbed.runtime.devices import pick_device
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import device_map, ordered_map
from stages.command import Data, Device, Workers, run_stage
from stages.settings import GroupCamSettings

BLOCK = 1000  # images whose partners' class maps are in memory at a time


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
        results = zip(entries, ordered_map(work, entries, workers), strict=True)
    elif weights and kept:
        place = pick_device(device)
        miner = Miner(train, weights, kept, group_size, settings, data, place)
        results = miner.maps(shard_of(range(len(train)), shard), workers)
    else:
        raise UserError("no maps: give --weights and --kept, or set group_cam.maps to a folder")
    with write_maps(output, levels=255, settings=settings.model_dump_json()) as maps:
        for entry, found in results:
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
    """Maps of the images of a data set, kept from the training or seen in groups, or both."""

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
        self.index = GroupIndex([entry.labels for entry in entries])
        self.weights = weights
        self.kept = Maps([kept])
        self.group_size = group_size
        self.settings = settings
        self.data = data
        self.device = device

    def maps(
        self, positions: Sequence[int], workers: int
    ) -> Iterator[tuple[ImageEntry, np.ndarray]]:
        """Images, by their positions in the data set, and their maps, (K of the image, H, W) uint8.

        An image's maps, each divided by its maximum, hang on it and the data set alone, whichever
        other positions there are. Images with the same labels come together: they share partners.
        """
        alike = sorted(positions, key=lambda position: self.entries[position].labels)
        for start in range(0, len(alike), BLOCK):
            block = alike[start : start + BLOCK]
            groups = {position: self._groups(position) for position in block}
            work = partial(self._finished, groups=groups, nodes=self._nodes(groups, workers))
            found = device_map(self._kept_maps, work, block, self.device, workers)
            yield from zip((self.entries[position] for position in block), found, strict=True)

    def _groups(self, position: int) -> list[list[int]]:
        if self.settings.source == "accumulated":
            return []
        rng = np.random.default_rng([self.settings.seed, position])
        count = range(self.settings.groups)
        return [self.index.group(position, self.group_size, rng) for _ in count]

    def _nodes(self, groups: dict[int, list[list[int]]], workers: int) -> dict[int, np.ndarray]:
        """Class maps before the graph of every member (plain and mirrored, K, h, w)."""
        members = sorted({member for drawn in groups.values() for member in chain(*drawn)})
        if not members:
            return {}
        work = partial(self._nodes_of, model=network_on(self.weights, self.device))
        found = device_map(self._image, work, members, self.device, workers)
        return dict(zip(members, found, strict=True))

    def _image(self, position: int) -> np.ndarray:
        return read_image(self.data / self.entries[position].path)

    @torch.no_grad()
    def _nodes_of(self, _: int, image: np.ndarray, *, model: GroupNetwork) -> np.ndarray:
        pixels = torch.from_numpy(image).to(self.device).permute(2, 0, 1)[None].float()
        square = resize(pixels, (self.settings.size, self.settings.size), "antialias")
        with mixed_precision(self.device):
            nodes = model.nodes(model.preprocess(torch.cat([square, square.flip(-1)])))
        return nodes.float().cpu().numpy()

    def _kept_maps(self, position: int) -> list[np.ndarray]:
        if self.settings.source == "network":
            return []
        return [self.kept.floats(self.entries[position].id)]

    def _finished(
        self,
        position: int,
        kept: list[np.ndarray],
        *,
        groups: dict[int, list[list[int]]],
        nodes: dict[int, np.ndarray],
    ) -> np.ndarray:
        entry = self.entries[position]
        seen = self._seen(position, [[nodes[member] for member in g] for g in groups[position]])
        sources = [maps for maps in (list(map(torch.from_numpy, kept)), seen) if maps]
        size = (entry.height, entry.width)
        return finish([combine_scales(maps, size) for maps in sources], self.settings)

    @torch.no_grad()
    def _seen(self, position: int, groups: list[list[np.ndarray]]) -> list[Tensor]:
        """Maps (K of the image, h, w) from groups of nodes, each plain and mirrored back."""
        torch.manual_seed(self.settings.seed * 1_000_003 + position)  # of a dropout that stays on
        tagged = [c - 1 for c in self.entries[position].labels]
        outputs = []
        for group in groups:
            before = torch.from_numpy(np.stack(group, axis=1)).to(self.device)
            with mixed_precision(self.device):
                after = network_on(self.weights, self.device).mined(before)
            plain, mirrored = between(before, after.float())[:, 0, tagged]
            outputs += [plain, mirrored.flip(-1)]
        return outputs


if __name__ == "__main__":
    run_stage(group_cam)
