"""Training samples: images and what supervises them under one random affine view."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from seedbed.artefacts import Maps
from seedbed.data.groups import GroupIndex
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry

VOID = 255


@dataclass(frozen=True)
class View:
    """Which random views of an image are drawn.

    crop: side of the square seen, pixels. warp: the image's whole is squeezed onto the square
    before anything else, its aspect lost; otherwise a square piece is cut. scale: range of the
    zoom. rotate: degrees, both ways. jitter: ± share of brightness, contrast and saturation.
    """

    crop: int
    warp: bool = True
    scale: tuple[float, float] = (1.0, 1.0)
    rotate: float = 0.0
    flip: bool = True
    jitter: float = 0.0

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Tensor:
        """Affine map (2, 3) from the view's to the image's normalised (x, y) coordinates."""
        zoom = rng.uniform(*self.scale)
        mirror = -1.0 if self.flip and rng.random() < 0.5 else 1.0
        angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate))
        cos, sin = np.cos(angle), np.sin(angle)
        sizes = np.array([width, height], float)
        # pixels of the image that the view spans in x and y
        span = sizes / zoom if self.warp else np.full(2, self.crop / zoom)
        low, high = np.minimum(span / 2, sizes - span / 2), np.maximum(span / 2, sizes - span / 2)
        centre = rng.uniform(low, high)
        turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([mirror * span[0], span[1]])
        return torch.tensor(
            np.column_stack([turn / sizes[:, None], 2 * centre / sizes - 1]), dtype=torch.float32
        )


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


class Request(NamedTuple):
    """One sample asked for: its randomness is a function of seed, step and slot alone."""

    step: int
    slot: int
    index: int


class Samples(Dataset):
    """Images of a split with tags and, if given, target masks or cues.

    targets: uint8 masks at image size, seen at every `target_stride`-th pixel of the view; cues:
    (C, g, g) maps, seen on a grid of `cue_grid` cells a side.
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
        cues: Maps | None = None,
        cue_grid: int = 0,
    ) -> None:
        self.entries = entries
        self.num_classes = num_classes
        self.data = data
        self.view = view
        self.seed = seed
        self.targets = targets
        self.target_size = view.crop // target_stride
        self.cues = cues
        self.cue_grid = cue_grid

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, request: Request) -> Batch:
        entry = self.entries[request.index]
        rng = np.random.default_rng([self.seed, request.step, request.slot])
        theta = self.view.draw(entry.height, entry.width, rng)
        image = torch.from_numpy(read_image(self.data / entry.path)).permute(2, 0, 1)
        pixels = _see(image, theta, self.view.crop, "bilinear", padding=image.float().mean((1, 2)))
        tags = torch.zeros(self.num_classes)
        tags[[0, *entry.labels]] = 1
        return Batch(
            images=_jitter(pixels, self.view.jitter, rng),
            tags=tags,
            index=torch.tensor(request.index),
            mirrored=torch.det(theta[:, :2]) < 0,
            targets=self._target(entry, theta),
            cues=self._cues(entry, theta),
        )

    def _target(self, entry: ImageEntry, theta: Tensor) -> Tensor | None:
        if self.targets is None:
            return None
        mask = torch.from_numpy(self.targets[entry.id])[None]
        void = torch.tensor([float(VOID)])
        return _see(mask, theta, self.target_size, "nearest", padding=void)[0].to(torch.uint8)

    def _cues(self, entry: ImageEntry, theta: Tensor) -> Tensor | None:
        if self.cues is None:
            return None
        cues = torch.from_numpy(self.cues[entry.id])
        none = torch.zeros(len(cues))
        return _see(cues, theta, self.cue_grid, "nearest", padding=none) > 0


def _see(maps: Tensor, theta: Tensor, size: int, mode: str, padding: Tensor) -> Tensor:
    """Maps (C, H, W) seen through theta at (C, size, size); outside the image: padding (C,)."""
    grid = F.affine_grid(theta[None], [1, 1, size, size], align_corners=False)
    shifted = maps.float() - padding[:, None, None]  # grid_sample pads with zeros
    seen = F.grid_sample(shifted[None], grid, mode=mode, align_corners=False)[0]
    return seen + padding[:, None, None]


def _jitter(image: Tensor, amount: float, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and saturation of an image (3, H, W) changed by up to ± amount."""
    if amount == 0:
        return image
    brightness, contrast, saturation = (float(x) for x in 1 + rng.uniform(-amount, amount, 3))
    image = image * brightness
    image = image.mean() + (image - image.mean()) * contrast
    grey = image.mean(0, keepdim=True)
    return (grey + (image - grey) * saturation).clamp(0, 255)


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


def loader(samples: Samples, requests: Iterator[list[Request]], workers: int = 0) -> DataLoader:
    """Batches for the requests, in order; the number of workers changes nothing but speed."""
    return DataLoader(
        samples, batch_sampler=list(requests), num_workers=workers, collate_fn=collate
    )
