"""Training samples: images and what supervises them under one random affine view."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry
from seedbed.formats.maps import Maps
from seedbed.methods.group_wsss.partners import GroupIndex
from seedbed.methods.psa.labels import grid_labels
from seedbed.methods.resampling import label_pixels
from seedbed.runtime.errors import UserError
from seedbed.training.views import View, beyond, see

VOID = 255


class Batch(NamedTuple):
    """Samples of one step. N is the batch; grids differ in size.

    images (N, 3, S, S) float in [0, 255]; tags (N, C) float with background; index (N,) position
    in the data set; mirrored (N,) bool; targets (N, T, T) uint8 or None; cues (N, C, G, G) or None.
    """

    images: Tensor
    tags: Tensor
    index: Tensor
    mirrored: Tensor
    targets: Tensor | None
    cues: Tensor | None

    def to(self, device: torch.device) -> "Batch":
        """The batch on another device."""
        moved = (x if x is None else x.to(device, non_blocking=True) for x in self)
        return Batch(*moved)

    def parts(self, count: int) -> list["Batch"]:
        """The batch cut into equal parts; ValueError if their number does not divide it."""
        if len(self.images) % count:
            raise ValueError(f"count: {count} does not divide a batch of {len(self.images)} images")
        cut = ([None] * count if x is None else x.chunk(count) for x in self)
        return [Batch(*fields) for fields in zip(*cut, strict=True)]


class Request(NamedTuple):
    """One sample asked for: its randomness is a function of seed, step and slot alone."""

    step: int
    slot: int
    index: int


class Samples(Dataset):
    """Images of a split with tags and, if given, target masks, cues or scores.

    targets: uint8 masks at image size, seen on a grid of stride `target_stride` over the view;
    target_sampling says where its cells look: "half_pixel" at the centres of crop // stride cells,
    else as `label_pixels`. cues: (C, g, g) maps, seen on a grid of `cue_grid` cells a side.
    scores: (2, 1 + K of the image, H, W), of a low and of a high alpha, from which `grid_labels`
    makes the targets, those of AffinityNet.
    """

    def __init__(
        self,
        entries: Sequence[ImageEntry],
        num_classes: int,
        data: Path,
        view: View,
        *,
        seed: int,
        targets: Maps | None = None,
        target_stride: int = 1,
        target_sampling: str = "half_pixel",
        cues: Maps | None = None,
        cue_grid: int = 0,
        scores: Maps | None = None,
    ) -> None:
        self.entries = entries
        self.num_classes = num_classes
        self.data = data
        self.view = view
        self.seed = seed
        self.targets = targets
        self.target_stride = target_stride
        self.target_sampling = target_sampling
        self.cues = cues
        self.cue_grid = cue_grid
        self.scores = scores

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, request: Request) -> Batch:
        entry = self.entries[request.index]
        rng = np.random.default_rng([self.seed, request.step, request.slot])
        pixels = torch.from_numpy(read_image(self.data / entry.path)).permute(2, 0, 1).float()
        image = self.view.rescale(pixels, rng)
        theta = self.view.draw(*image.shape[1:], rng)
        tags = torch.zeros(self.num_classes)
        tags[[0, *entry.labels]] = 1
        return Batch(
            images=self.view.render(image, theta, rng),
            tags=tags,
            index=torch.tensor(request.index),
            mirrored=torch.det(theta[:, :2]) < 0,
            targets=self._target(entry, theta),
            cues=self._cues(entry, theta),
        )

    def _target(self, entry: ImageEntry, theta: Tensor) -> Tensor | None:
        if self.scores is not None:
            return self._sure_labels(self.scores[entry.id], theta)
        if self.targets is None:
            return None
        mask = torch.from_numpy(self.targets[entry.id])[None]
        crop, stride = self.view.crop, self.target_stride
        direct = self.target_sampling == "half_pixel"
        void = torch.tensor([float(VOID)])
        seen = see(mask, theta, crop // stride if direct else crop, "nearest", padding=void)[0]
        if not direct:
            pixels = label_pixels(crop, stride, self.target_sampling)
            seen = seen[pixels][:, pixels]
        return seen.to(torch.uint8)

    def _sure_labels(self, scores: np.ndarray, theta: Tensor) -> Tensor:
        maps, crop = torch.from_numpy(scores).flatten(0, 1), self.view.crop
        seen = see(maps, theta, crop, "bilinear", padding=torch.zeros(len(maps)))
        # What interpolation leaves beyond the border would pass for a score.
        seen = seen.masked_fill(beyond(theta, crop), 0)
        return grid_labels(*seen.unflatten(0, (2, -1)))

    def _cues(self, entry: ImageEntry, theta: Tensor) -> Tensor | None:
        if self.cues is None:
            return None
        cues = torch.from_numpy(self.cues[entry.id])
        none = torch.zeros(len(cues))
        return see(cues, theta, self.cue_grid, "nearest", padding=none) > 0


def draws(count: int, batch: int, start: int, stop: int, seed: int) -> Iterator[list[Request]]:
    """Batches of requests for steps start..stop-1: every epoch a new order of all images.

    A pure function of its arguments: a training that goes on at step n sees what it would have.
    """
    for step in range(start, stop):
        numbers = range(step * batch, (step + 1) * batch)
        yield [
            Request(step, slot, int(_order(count, number // count, seed)[number % count]))
            for slot, number in enumerate(numbers)
        ]


def group_draws(
    groups: GroupIndex, size: int, requests: Iterator[list[Request]], seed: int
) -> Iterator[list[Request]]:
    """Each requested image followed by its `size` - 1 partners."""
    for batch in requests:
        members: list[Request] = []
        for step, slot, index in batch:
            rng = np.random.default_rng([seed, step, slot, 1])
            group = groups.group(index, size, rng)
            members += [Request(step, slot * size + i, g) for i, g in enumerate(group)]
        yield members


@functools.lru_cache(maxsize=2)
def _order(count: int, epoch: int, seed: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


def collate(samples: list[Batch]) -> Batch:
    """One batch of many samples."""
    return Batch(*(None if f[0] is None else torch.stack(f) for f in zip(*samples, strict=True)))


def loader(
    samples: Samples, requests: Iterator[list[Request]], workers: int = 0
) -> Iterator[Batch]:
    """Batches for the requests, in order; the number of workers changes nothing but speed."""
    try:
        yield from DataLoader(
            samples, batch_sampler=list(requests), num_workers=workers, collate_fn=collate
        )
    except UserError as error:  # a worker's comes with its traceback, the line itself at the end
        raise UserError(str(error).rpartition("UserError: ")[2].strip()) from None
    except (ConnectionError, EOFError) as error:  # noticed before torch has seen it end
        raise RuntimeError(f"DataLoader worker ended as it gave a batch: {error}") from error
