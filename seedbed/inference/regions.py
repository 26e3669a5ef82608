"""Class probabilities in a region of an image, as a network gives them to the whole image.

The network's grid is rounded up to whole cells, and the sizes of scaled images are rounded too. A
crop predicted as an image of its own would therefore be displaced by up to one cell. Here a crop is
chosen so that its cells coincide with cells of the whole image's grid, at every scale and when
mirrored, and its logits are resized as part of the whole.
"""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from seedbed.inference.inputs import image_batch
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
        input: of the network's input, counted likewise; begins at a multiple of 32.

    """

    pixels: Part
    scaled: Part
    input: Part

    @classmethod
    def of(cls, part: Part, scaled: int, length: int, *, mirrored: bool) -> "AxisView":
        """The view that covers a part of the image.

        Args:
            part: of the image.
            scaled: length of the scaled image.
            length: length of the network's input.
            mirrored: whether the network is given the mirror image.

        """
        wanted = part.mirrored if mirrored else part
        ratio = length / wanted.whole
        first = math.floor(wanted.first * ratio / ALIGNMENT) * ALIGNMENT
        end = math.ceil(wanted.end * ratio / ALIGNMENT) * ALIGNMENT
        input_part = Part(first, min(end, length), length)
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

    def _parts(self, part: Part) -> list[Part]:
        """The part of each grid that belongs to a part of the network's input."""
        none, before = self._cells(PROBED), self._cells(PROBED + part.first)
        found, whole = self._cells(part.length), self._cells(part.whole)
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
class RegionInput:
    """A region at one scale, or its mirror image."""

    rows: AxisView
    columns: AxisView
    mirrored: bool

    def cut(self, pixels: np.ndarray, above: Part) -> np.ndarray:
        """Pixels from which this view is resized.

        Args:
            pixels: rows `above` of the image, uint8 (h', W, 3).
            above: which rows of the image `pixels` are.

        """
        return pixels[self.rows.pixels.within(above), self.columns.pixels.as_slice]

    def network_input(self, pixels: np.ndarray, resampling: str, device: torch.device) -> Tensor:
        """The network's input, not preprocessed.

        Args:
            pixels: the cut pixels, RGB uint8 (h, w, 3).
            resampling: method of `seedbed.methods.resampling.resize_image`.
            device: the network's device.

        Returns:
            (1, 3, *lengths of the input's rows and columns) float32 in [0, 255].

        """
        batch = image_batch(pixels, resampling, device)
        columns = self.columns.scaled.mirrored if self.mirrored else self.columns.scaled
        source = self.rows.pixels, self.columns.pixels
        resized = resize_image_part(batch, source, (self.rows.scaled, columns), resampling)
        resized = resized.to(device).float()
        resized = resized.flip(-1) if self.mirrored else resized
        scaled = self.rows.scaled, self.columns.scaled
        return resize_part(resized, scaled, (self.rows.input, self.columns.input), "half_pixel")


@dataclass(frozen=True)
class RegionViews:
    """The inputs that a network is given for regions of an image, and its outputs there.

    Attributes:
        model: in evaluation mode, on `device`.
        options: scales, flip and resampling of the network's inputs, and how its outputs are fused;
            `size` is None.
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
        """Rows of the image that must be read to predict a region with these rows."""
        needed = [view.rows.pixels for view in self._views((rows, _all(self.size[1])))]
        first, end = min(part.first for part in needed), max(part.end for part in needed)
        return Part(min(first, rows.first), max(end, rows.end), rows.whole)

    @torch.no_grad()
    def log_probabilities(
        self, pixels: np.ndarray, above: Part, region: Region, name: str
    ) -> Tensor:
        """Logarithms of the probabilities of all classes in a region, (C, h, w).

        Args:
            pixels: rows `above` of the image, RGB uint8 (h', W, 3).
            above: which rows of the image `pixels` are; must contain `self.rows(region[0])`.
            region: the region.
            name: determines the draws of a dropout that stays active in evaluation.

        """
        views = self._views(region)
        grids = [self._grids.regions(view.rows.input, view.columns.input) for view in views]
        torch.manual_seed(image_seed(name, self.options.seed))
        outputs = [
            self._output(view, view.cut(pixels, above), grid)
            for view, grid in zip(views, grids, strict=True)
        ]
        input_sizes = [(view.rows.scaled.whole, view.columns.scaled.whole) for view in views]
        return fuse_parts(outputs, region, self.options, input_sizes)

    def _views(self, region: Region) -> list[RegionInput]:
        """The views of a region, in the order of `multi_scale`."""
        sides = self.model.input_side
        return [
            RegionInput(
                AxisView.of(region[0], height, sides(height), mirrored=False),
                AxisView.of(region[1], width, sides(width), mirrored=mirrored),
                mirrored,
            )
            for height, width in self.options.input_sizes(*self.size)
            for mirrored in (False, True)[: 1 + self.options.flip]
        ]

    def _output(
        self, view: RegionInput, pixels: np.ndarray, grids: list[Region]
    ) -> tuple[Tensor, Region]:
        """Logits (C, h, w) for a view, mirrored back, and the part of the grid that they are."""
        images = view.network_input(pixels, self.options.resampling, self.device)
        with autocast(self.device, self.options.precision):
            (logits,) = self.model.forward_part(self.model.preprocess(images), grids).float()
        rows, columns = grids[0]
        if view.mirrored:
            return logits.flip(-1), (rows, columns.mirrored)
        return logits, (rows, columns)


def _all(length: int) -> Part:
    return Part(0, length, length)
