"""What supervises a training beyond image-level labels: masks, cues or class scores."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from seedbed.data.index import ImageEntry
from seedbed.formats.maps import Maps
from seedbed.formats.masks import VOID
from seedbed.methods.psa.labels import grid_labels
from seedbed.methods.resampling import label_pixels
from seedbed.training.views import outside_image, warp


class Supervision(Protocol):
    """Gives the target of an image under a view."""

    def target(self, entry: ImageEntry, theta: Tensor, crop: int) -> Tensor:
        """The target under the affine map `theta` (see `View.draw`) of a view of side `crop`."""


@dataclass(frozen=True, kw_only=True)
class MaskSupervision:
    """Masks (H, W) uint8 of class ids → targets (T, T) uint8, void outside the image.

    The targets have a cell for every `stride` pixels of the view. sampling: where in the cells the
    label is taken; "half_pixel": at the centres of crop // stride cells, else as in
    `seedbed.methods.resampling.label_pixels`.
    """

    maps: Maps
    stride: int
    sampling: str

    def target(self, entry: ImageEntry, theta: Tensor, crop: int) -> Tensor:
        """The mask under the view."""
        mask = torch.from_numpy(self.maps[entry.id])[None]
        if self.sampling == "half_pixel":
            return self._warp(mask, theta, crop // self.stride)
        pixels = label_pixels(crop, self.stride, self.sampling)
        return self._warp(mask, theta, crop)[pixels][:, pixels]

    def _warp(self, mask: Tensor, theta: Tensor, size: int) -> Tensor:
        void = torch.tensor([float(VOID)])
        return warp(mask, theta, size, "nearest", padding=void)[0].to(torch.uint8)


@dataclass(frozen=True, kw_only=True)
class CueSupervision:
    """Cues (C, g, g), non-zero = cue → targets (C, grid, grid) bool, no cues outside the image."""

    maps: Maps
    grid: int

    def target(self, entry: ImageEntry, theta: Tensor, crop: int) -> Tensor:
        """The cues under the view."""
        cues = torch.from_numpy(self.maps[entry.id])
        return warp(cues, theta, self.grid, "nearest", padding=torch.zeros(len(cues))) > 0


@dataclass(frozen=True, kw_only=True)
class AffinitySupervision:
    """Class scores of AffinityNet's two alphas → targets, the labels of cells of 8 x 8 pixels.

    maps: (2, 1 + K of the image, H, W), uint8 levels or floating, low alpha first; targets:
    (⌈crop/8⌉, ⌈crop/8⌉) uint8, as `seedbed.methods.psa.labels.grid_labels` gives them, void outside
    the image.
    """

    maps: Maps

    def target(self, entry: ImageEntry, theta: Tensor, crop: int) -> Tensor:
        """The cells' labels under the view."""
        scores = torch.from_numpy(self.maps[entry.id]).flatten(0, 1)
        warped = warp(scores, theta, crop, "bilinear", padding=torch.zeros(len(scores)))
        # Interpolation at the border leaves small scores outside the image.
        warped = warped.masked_fill(outside_image(theta, crop), 0)
        if scores.dtype == torch.uint8:
            # Whole levels add up exactly over a cell; errors of the warp would decide ties.
            warped = warped.round()
        return grid_labels(*warped.unflatten(0, (2, -1)))
