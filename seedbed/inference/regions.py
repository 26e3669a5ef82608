"""Class probabilities in a region of an image, as a network gives them to the whole image.

A network's grid of scores is rounded up to whole cells and then resized to the image, and the sizes
of scaled images are rounded too: the scores of a region that is treated as an image of its own lie
up to a cell beside those of the whole. Here a region is cut so that its cells are cells of the
image's grids, at each scale and in the mirror image, and is resized as a part of the whole.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from seedbed.inference.precision import autocast
from seedbed.inference.probabilities import PredictionOptions, fuse_parts, image_seed
from seedbed.inference.tiles import ALIGNMENT
from seedbed.methods.regions import Part, Region
from seedbed.methods.resampling import resize_image_part, resize_part
from seedbed.models.network import Network

PROBED = 2 * ALIGNMENT  # pixels a side, from which grids grow by as many cells each time


@dataclass(frozen=True)
class AxisView:
    """A part of an axis at one scale, from the image to what the network takes.

    Attributes:
        pixels: of the image.
        scaled: of the scaled image, counted from the other end if it is mirrored.
        shown: of the network's input, counted likewise; begins at a multiple of 32.

    """

    pixels: Part
    scaled: Part
    shown: Part

    @classmethod
    def of(cls, part: Part, scaled: int, shown: int, *, mirrored: bool) -> "AxisView":
        """The view that covers a part of the image, whose scaled and shown lengths are given."""
        wanted = part.mirrored if mirrored else part
        ratio = shown / wanted.whole
        first = math.floor(wanted.first * ratio / ALIGNMENT) * ALIGNMENT
        end = math.ceil(wanted.end * ratio / ALIGNMENT) * ALIGNMENT
        input_part = Part(first, min(end, shown), shown)
        resized = input_part.source(scaled)
        pixels = resized.source(wanted.whole)
        return cls(pixels.mirrored if mirrored else pixels, resized, input_part)


@dataclass
class Grids:
    """The grids of a network's maps, counted on small images."""

    model: Network
    device: torch.device
    _counted: dict[int, list[int]] = field(default_factory=dict, repr=False)

    def regions(self, rows: Part, columns: Part) -> list[Region]:
        """The region of each grid that belongs to a region of the network's input."""
        return list(zip(self._parts(rows), self._parts(columns), strict=True))

    def _parts(self, shown: Part) -> list[Part]:
        """The part of each grid that belongs to a part of the network's input."""
        none, before = self._cells(PROBED), self._cells(PROBED + shown.first)
        found, whole = self._cells(shown.length), self._cells(shown.whole)
        return [
            Part(b - n, b - n + f, w) for n, b, f, w in zip(none, before, found, whole, strict=True)
        ]

    def _cells(self, side: int) -> list[int]:
        """Number of cells of each grid along a side of the network's input."""
        periods = max(0, side - PROBED) // ALIGNMENT
        small = self._count(side - periods * ALIGNMENT)
        more = self._count(PROBED + ALIGNMENT)
        step = [n - m for n, m in zip(more, self._count(PROBED), strict=True)]
        return [n + periods * k for n, k in zip(small, step, strict=True)]

    def _count(self, side: int) -> list[int]:
        if side not in self._counted:
            with torch.no_grad():
                maps = self.model.grids(torch.zeros(1, 3, side, side, device=self.device))
            self._counted[side] = [each.shape[-1] for each in maps]
        return self._counted[side]


@dataclass(frozen=True)
class View:
    """A region at one scale, or its mirror image."""

    rows: AxisView
    columns: AxisView
    mirrored: bool

    def cut(self, pixels: np.ndarray, above: Part) -> np.ndarray:
        """What of the rows `above` of an image, (h', W, 3), the view is resized from."""
        return pixels[self.rows.pixels.within(above), self.columns.pixels.as_slice]

    def show(self, pixels: Tensor, resampling: str) -> Tensor:
        """What the network is shown of the cut pixels (1, 3, h, w), not preprocessed."""
        columns = self.columns.scaled.mirrored if self.mirrored else self.columns.scaled
        source = self.rows.pixels, self.columns.pixels
        resized = resize_image_part(pixels, source, (self.rows.scaled, columns), resampling)
        resized = resized.flip(-1) if self.mirrored else resized
        scaled = self.rows.scaled, self.columns.scaled
        return resize_part(resized, scaled, (self.rows.shown, self.columns.shown), "half_pixel")


@dataclass(frozen=True)
class RegionViews:
    """How the regions of an image are shown to a network.

    Attributes:
        model: in evaluation mode, on `device`.
        options: how images are shown to the network and its outputs are fused; `size` is None.
        size: (H, W) of the image.
        device: the model's device.

    """

    model: Network
    options: PredictionOptions
    size: tuple[int, int]
    device: torch.device
    _grids: Grids

    @classmethod
    def of(
        cls, model: Network, options: PredictionOptions, size: tuple[int, int], device: torch.device
    ) -> "RegionViews":
        """The views of an image of this size."""
        return cls(model, options, size, device, Grids(model, device))

    def rows(self, rows: Part) -> Part:
        """The image's rows that `probabilities` needs for a region with these."""
        needed = [view.rows.pixels for view in self._views((rows, _all(self.size[1])))]
        first, end = min(part.first for part in needed), max(part.end for part in needed)
        return Part(min(first, rows.first), max(end, rows.end), rows.whole)

    @torch.no_grad()
    def probabilities(self, pixels: np.ndarray, above: Part, region: Region, name: str) -> Tensor:
        """Probabilities (C, h, w) of all classes in a region.

        Args:
            pixels: the image's rows `above`, RGB uint8 (h', W, 3).
            above: with all that `rows` gives for the region.
            region: the region.
            name: determines the draws of a dropout that stays active in evaluation.

        """
        views = self._views(region)
        grids = [self._grids.regions(view.rows.shown, view.columns.shown) for view in views]
        torch.manual_seed(image_seed(name, self.options.seed))
        outputs = [
            self._output(view, view.cut(pixels, above), grid)
            for view, grid in zip(views, grids, strict=True)
        ]
        input_sizes = [(view.rows.scaled.whole, view.columns.scaled.whole) for view in views]
        return fuse_parts(outputs, region, self.options, input_sizes)

    def _views(self, region: Region) -> list[View]:
        """The views of a region, in the order of `multi_scale`."""
        sides = self.model.input_side
        return [
            View(
                AxisView.of(region[0], height, sides(height), mirrored=False),
                AxisView.of(region[1], width, sides(width), mirrored=mirrored),
                mirrored,
            )
            for height, width in self.options.input_sizes(*self.size)
            for mirrored in (False, True)[: 1 + self.options.flip]
        ]

    def _output(self, view: View, pixels: np.ndarray, grids: list[Region]) -> tuple[Tensor, Region]:
        """Logits (C, h, w) for a view, mirrored back, and the part of the grid that they are."""
        cut = torch.from_numpy(pixels).to(self.device).permute(2, 0, 1)[None].float()
        shown = view.show(cut, self.options.resampling)
        with autocast(self.device, self.options.precision):
            (logits,) = self.model.forward_part(self.model.preprocess(shown), grids).float()
        rows, columns = grids[0]
        if view.mirrored:
            return logits.flip(-1), (rows, columns.mirrored)
        return logits, (rows, columns)


def _all(length: int) -> Part:
    return Part(0, length, length)
