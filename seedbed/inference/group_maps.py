"""Attention maps of the group network (Group-WSSS) for the images of a data set.

Li et al., AAAI 2021, accumulate the maps while training; `GroupNetworkPass` computes them by a
separate pass of the trained network, in which every image is seen in several groups.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from seedbed.data.index import ImageEntry
from seedbed.formats.levels import quantise
from seedbed.inference.inputs import image_batch
from seedbed.inference.precision import Precision, autocast
from seedbed.methods.cam import combine_scales, normalise_cam
from seedbed.methods.group_wsss.partners import GroupIndex
from seedbed.methods.resampling import resize_image
from seedbed.models.heads.group import GroupNetwork, mean_maps
from seedbed.runtime.pools import device_map

BLOCK = 1000  # images whose partners' class maps are in memory at a time

Groups = list[list[int]]  # positions in the data set of the members of each group
NodeMaps = dict[int, np.ndarray]  # position → (2, K, h, w): plain and mirrored


def fuse_sources(
    sources: Sequence[Sequence[Tensor]], size: tuple[int, int], power: float
) -> np.ndarray:
    """Pixel-wise maximum of an image's maps from several sources, to the power `power`.

    Args:
        sources: for each source the (K, h_i, w_i) maps whose sum counts.
        size: (H, W) of the result; Group-WSSS resizes with OpenCV's bilinear interpolation.
        power: exponent of the normalised maps.

    Returns:
        (K, H, W) uint8, each source's maps divided by their maximum, times 255.

    """
    combined = (combine_scales(s, size, power=1.0, resampling="half_pixel") for s in sources)
    maps = torch.stack([normalise_cam(maps.cpu()) for maps in combined]).amax(0) ** power
    return quantise(maps.numpy())


@dataclass(frozen=True)
class GroupNetworkPass:
    """A pass of a trained group network over groups of images.

    Attributes:
        network: in evaluation mode, on `device`.
        device: the network's device.
        index: draws the partners.
        group_size: images per group.
        groups: groups in which each image is seen.
        size: side of the square in pixels to which images are warped.
        seed: of the partners, and of a dropout that stays active in evaluation.
        precision: of the network's operations.

    """

    network: GroupNetwork
    device: torch.device
    index: GroupIndex
    group_size: int
    groups: int
    size: int
    seed: int
    precision: Precision

    def draw_groups(self, position: int) -> Groups:
        """Draw the groups of the image at a position of the data set, itself first in each."""
        rng = np.random.default_rng([self.seed, position])
        return [self.index.group(position, self.group_size, rng) for _ in range(self.groups)]

    @torch.no_grad()
    def node_maps(self, image: np.ndarray) -> np.ndarray:
        """Class maps before the graph, plain and mirrored: (H, W, 3) uint8 → (2, K, h, w)."""
        pixels = image_batch(image, "antialias", self.device)
        square = resize_image(pixels, (self.size, self.size), "antialias").to(self.device)
        with autocast(self.device, self.precision):
            batch = self.network.preprocess(torch.cat([square, square.flip(-1)]))
            nodes = self.network.maps(batch)
        return nodes.float().cpu().numpy()

    @torch.no_grad()
    def attention(
        self, position: int, labels: Sequence[int], groups: Groups, nodes: NodeMaps
    ) -> list[Tensor]:
        """Class maps after the graph of an image, two per group: plain, and mirrored back.

        Args:
            position: of the image, which seeds the dropout.
            labels: class ids of the image.
            groups: its groups.
            nodes: `node_maps` of all members.

        Returns:
            Maps (len(labels), h, w).

        """
        torch.manual_seed(self.seed * 1_000_003 + position)
        channels = [c - 1 for c in labels]
        outputs = []
        for members in groups:
            before = np.stack([nodes[member] for member in members], axis=1)
            before = torch.from_numpy(before).to(self.device)
            with autocast(self.device, self.precision):
                after = self.network.pass_messages(before)
            plain, mirrored = mean_maps(before, after.float())[:, 0, channels]
            outputs += [plain, mirrored.flip(-1)]
        return outputs


@dataclass(frozen=True)
class GroupMaps:
    """The attention maps of images: accumulated while training, from a separate pass, or both.

    Attributes:
        entries: all images that groups are drawn from.
        read_image: reads one of them as RGB uint8 (H, W, 3).
        accumulated: reads the accumulated maps (K, h, w) of an image; None: not used.
        network_pass: the separate pass; None: not used. At least one of the two is given.
        power: exponent of the maps.
        device: where the maps are computed.

    """

    entries: Sequence[ImageEntry]
    read_image: Callable[[ImageEntry], np.ndarray]
    accumulated: Callable[[ImageEntry], np.ndarray] | None
    network_pass: GroupNetworkPass | None
    power: float
    device: torch.device

    def compute(
        self, positions: Sequence[int], workers: int
    ) -> Iterator[tuple[ImageEntry, np.ndarray]]:
        """Yield images, given by their positions, and their maps (K of the image, H, W) uint8.

        Images with the same labels follow each other, because they share partners. An image's maps
        depend on the data set, not on the other `positions`.
        """
        ordered = sorted(positions, key=lambda position: self.entries[position].labels)
        for start in range(0, len(ordered), BLOCK):
            yield from self._compute_block(ordered[start : start + BLOCK], workers)

    def _compute_block(
        self, block: Sequence[int], workers: int
    ) -> Iterator[tuple[ImageEntry, np.ndarray]]:
        groups: dict[int, Groups] = {}
        nodes: NodeMaps = {}
        if self.network_pass:
            labelled = [position for position in block if self.entries[position].labels]
            groups = {position: self.network_pass.draw_groups(position) for position in labelled}
            nodes = self._node_maps(groups, workers)

        def fuse(position: int, accumulated: np.ndarray | None) -> np.ndarray:
            entry, sources = self.entries[position], []
            if not entry.labels:
                return entry.no_maps()
            if accumulated is not None:
                sources.append([torch.from_numpy(accumulated)])
            if self.network_pass:
                group_list = groups[position]
                sources.append(
                    self.network_pass.attention(position, entry.labels, group_list, nodes)
                )
            return fuse_sources(sources, (entry.height, entry.width), self.power)

        maps = device_map(self._accumulated, fuse, block, self.device, workers)
        yield from zip((self.entries[position] for position in block), maps, strict=True)

    def _accumulated(self, position: int) -> np.ndarray | None:
        return self.accumulated(self.entries[position]) if self.accumulated else None

    def _node_maps(self, groups: dict[int, Groups], workers: int) -> NodeMaps:
        """Class maps before the graph of every member of the groups."""
        members = sorted({member for drawn in groups.values() for member in chain(*drawn)})
        maps = device_map(
            lambda member: self.read_image(self.entries[member]),
            lambda _, image: self.network_pass.node_maps(image),
            members,
            self.device,
            workers,
        )
        return dict(zip(members, maps, strict=True))
