"""What supervises a training beyond image-level labels: masks, cues or class scores."""

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from seedbed.data.index import ImageEntry
from seedbed.formats.maps import Maps
from seedbed.formats.palette import VOID
from seedbed.methods.psa.labels import grid_labels
from seedbed.methods.resampling import label_pixels
from seedbed.runtime.choices import check_choice
from seedbed.training.warping import Placement

Sampling = Literal["half_pixel", "corner_aligned", "tf_legacy"]


class Supervision(Protocol):
    """Gives the target of an image under a view."""

    def target(self, entry: ImageEntry, placement: Placement) -> Tensor:
        """The target of the view that lies there in the image."""


@dataclass(frozen=True, kw_only=True)
class MaskSupervision:
    """Masks (H, W) uint8 of class ids → targets (T, T) uint8, void outside the image.

    Attributes:
        maps: the masks, by image id.
        stride: pixels of the view per cell of the targets.
        sampling: where in a cell its label is taken; "half_pixel": at the centres of crop // stride
            cells; the others: see `seedbed.methods.resampling.label_pixels`.

    Raises:
        ValueError: if `sampling` is none of these.

    """

    maps: Maps
    stride: int
    sampling: Sampling

    def __post_init__(self) -> None:
        check_choice("sampling", self.sampling, Sampling)

    def target(self, entry: ImageEntry, placement: Placement) -> Tensor:
        """The mask under the view."""
        mask = torch.from_numpy(self.maps[entry.id])[None]
        if self.sampling == "half_pixel":
            return self._sample(mask, placement, placement.crop // self.stride)
        pixels = label_pixels(placement.crop, self.stride, self.sampling)
        return self._sample(mask, placement, placement.crop)[pixels][:, pixels]

    def _sample(self, mask: Tensor, placement: Placement, size: int) -> Tensor:
        void = torch.tensor([float(VOID)])
        return placement.labels(mask, size, "nearest", padding=void)[0].to(torch.uint8)


@dataclass(frozen=True, kw_only=True)
class CueSupervision:
    """Cues (C, g, g), non-zero = cue → targets (C, grid, grid) bool, no cues outside the image.

    Attributes:
        maps: the cues, by image id.
        grid: rows and columns of the targets.

    """

    maps: Maps
    grid: int

    def target(self, entry: ImageEntry, placement: Placement) -> Tensor:
        """The cues under the view."""
        cues = torch.from_numpy(self.maps[entry.id])
        none = torch.zeros(len(cues))
        return placement.labels(cues, self.grid, "nearest", padding=none) > 0


@dataclass(frozen=True, kw_only=True)
class AffinitySupervision:
    """Class scores of AffinityNet's two alphas → targets, the labels of cells of 8 x 8 pixels.

    The targets are (⌈crop/8⌉, ⌈crop/8⌉) uint8, as `seedbed.methods.psa.labels.grid_labels` gives
    them, void outside the image.

    Attributes:
        maps: scores (2, 1 + K of the image, H, W) by image id, uint8 levels or floating, low alpha
            first.

    """

    maps: Maps

    def target(self, entry: ImageEntry, placement: Placement) -> Tensor:
        """The cells' labels under the view."""
        scores = torch.from_numpy(self.maps[entry.id]).flatten(0, 1)
        none = torch.zeros(len(scores))
        warped = placement.labels(scores, placement.crop, "bilinear", padding=none)
        if scores.dtype == torch.uint8:
            # Whole levels add up exactly over a cell; errors of the warp would decide ties.
            warped = warped.round()
        return grid_labels(*warped.unflatten(0, (2, -1)))
