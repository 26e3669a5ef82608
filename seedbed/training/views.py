"""Random views of an image: warped or cropped, zoomed, turned, mirrored and changed in colour."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from seedbed.methods.resampling import resize_image
from seedbed.runtime.choices import check_choice
from seedbed.training.colours import jitter
from seedbed.training.warping import Placement, warp

ScaleResampling = Literal["half_pixel", "tf_legacy"]
PlacementRule = Literal["random", "top_left"]


@dataclass(frozen=True, kw_only=True)
class View(ABC):
    """The distribution of the random views of an image: data augmentation.

    Attributes:
        crop: side of the square view in pixels.
        scale: (lowest, highest) zoom factor, drawn uniformly; interpolated without low-pass filter.
        rotate: largest absolute angle in degrees.
        flip: mirror with probability 1/2.
        jitter: relative range of brightness, contrast and saturation.
        hue: range as a fraction of the colour circle.
        padding: RGB level in [0, 255] outside the image; None: the image's mean colour.

    """

    crop: int
    scale: tuple[float, float]
    rotate: float
    flip: bool
    jitter: float
    hue: float
    padding: tuple[float, float, float] | None

    @abstractmethod
    def rescale(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """The image (3, H, W) of levels in [0, 255] at the size at which the view is drawn."""

    @abstractmethod
    def _span(self, sizes: np.ndarray, zoom: float) -> np.ndarray:
        """Pixels (x, y) of an image of sizes (width, height) that the view covers."""

    @property
    def _whole_pixels(self) -> bool:
        """Whether the view has pixels of the rescaled image and none between them."""
        return self.rotate == 0 and tuple(self.scale) == (1, 1)

    def place(self, image: Tensor, rng: np.random.Generator) -> Placement:
        """Draw where the view of a rescaled image (3, H, W) lies."""
        return Placement(self.draw(*image.shape[1:], rng), self.crop)

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Tensor:
        """Draw the affine map of a `Placement` for a rescaled image of that size."""
        zoom = self._draw_zoom(rng)
        mirrored = self.flip and rng.random() < 0.5
        angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate))
        cos, sin = np.cos(angle), np.sin(angle)
        sizes = np.array([width, height], float)
        span = self._span(sizes, zoom)
        centre = self._centre(sizes, span, zoom, rng)
        linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag(span)
        theta = np.column_stack([linear / sizes[:, None], 2 * centre / sizes - 1])
        return torch.tensor(self._mirror(theta) if mirrored else theta, dtype=torch.float32)

    def _draw_zoom(self, rng: np.random.Generator) -> float:
        return rng.uniform(*self.scale)

    def _centre(
        self, sizes: np.ndarray, span: np.ndarray, zoom: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw the view's centre (x, y) in pixels of the image."""
        return rng.uniform(*_centre_range(sizes, span))

    def _mirror(self, theta: np.ndarray) -> np.ndarray:
        """The map for the same view of the mirrored image."""
        return np.diag([-1, 1]) @ theta

    def render(self, image: Tensor, theta: Tensor, rng: np.random.Generator) -> Tensor:
        """The view (3, crop, crop) of a rescaled image under the map theta.

        Colours change before the view is cut out. Levels between pixels are rounded.
        """
        image = jitter(image, self.jitter, self.hue, rng)
        mode = "nearest" if self._whole_pixels else "levels"
        padding = image.float().mean((1, 2)) if self.padding is None else torch.tensor(self.padding)
        return warp(image, theta, self.crop, mode, padding)


@dataclass(frozen=True, kw_only=True)
class WarpView(View):
    """The whole image, warped to the square without keeping its aspect.

    Attributes:
        resampling: method of `seedbed.methods.resampling.resize_image` by which the image is
            resized; "half_pixel" is done in one step with zoom and rotation.

    """

    resampling: str

    def rescale(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """The image resized to the square; its own size if that is done with the zoom."""
        if self.resampling == "half_pixel" and not self._whole_pixels:
            return image
        return resize_image(image[None], (self.crop, self.crop), self.resampling)[0]

    def _span(self, sizes: np.ndarray, zoom: float) -> np.ndarray:
        return sizes / zoom


@dataclass(frozen=True, kw_only=True)
class CropView(View):
    """A square part of the image, which keeps its aspect.

    Without rotation and, for "half_pixel", zoom the view has the image's own pixels, not
    interpolated ones.

    Attributes:
        long_side: (lowest, highest) length in pixels, both included, from which the longer side is
            drawn, to which the image is resized first; None: it keeps its size.
        scale_resampling: how the random zoom resizes: "half_pixel" in one step with rotation and
            crop; "tf_legacy" before them to truncated whole sizes, by TensorFlow 1's bilinear and,
            for labels, nearest-neighbour interpolation.
        placement: where an image that is smaller than the view lies in it: "random" or "top_left".
        flip_before_padding: mirror the image, then pad and crop it; False: mirror the padded crop.

    Raises:
        ValueError: if `scale_resampling` or `placement` is none of these.

    """

    long_side: tuple[int, int] | None
    scale_resampling: ScaleResampling
    placement: PlacementRule
    flip_before_padding: bool

    def __post_init__(self) -> None:
        check_choice("scale_resampling", self.scale_resampling, ScaleResampling)
        check_choice("placement", self.placement, PlacementRule)

    def rescale(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """The image with its drawn longer side, by Pillow's bicubic filter (as PSA), and zoom."""
        if self.long_side is not None:
            long_side, longest = rng.integers(*self.long_side, endpoint=True), max(image.shape[1:])
            size = [max(1, round(side * long_side / longest)) for side in image.shape[1:]]
            image = resize_image(image[None], tuple(size), "bicubic")[0]
        if self._zooms_first:
            zoom = rng.uniform(*self.scale)
            size = [max(1, int(side * zoom)) for side in image.shape[1:]]
            image = resize_image(image[None], tuple(size), "tf_legacy")[0]
        return image

    @property
    def _zooms_first(self) -> bool:
        return self.scale_resampling == "tf_legacy"

    @property
    def _whole_pixels(self) -> bool:
        """Whether the view has pixels of the rescaled image and none between them."""
        return self.rotate == 0 and (self._zooms_first or tuple(self.scale) == (1, 1))

    def place(self, image: Tensor, rng: np.random.Generator) -> Placement:
        """Draw where the view of a rescaled image (3, H, W) lies."""
        label_size = tuple(image.shape[1:]) if self._zooms_first else None
        return super().place(image, rng)._replace(label_size=label_size)

    def _draw_zoom(self, rng: np.random.Generator) -> float:
        return 1.0 if self._zooms_first else super()._draw_zoom(rng)

    def _span(self, sizes: np.ndarray, zoom: float) -> np.ndarray:
        return np.full(2, self.crop / zoom)

    def _centre(
        self, sizes: np.ndarray, span: np.ndarray, zoom: float, rng: np.random.Generator
    ) -> np.ndarray:
        low, high = _centre_range(sizes, span)
        if self.placement == "top_left":
            low = span / 2
        if self._whole_pixels:
            return span / 2 + rng.integers(low - span / 2, high - span / 2, endpoint=True)
        return rng.uniform(low, high)

    def _mirror(self, theta: np.ndarray) -> np.ndarray:
        if self.flip_before_padding:
            return super()._mirror(theta)
        return theta @ np.diag([-1, 1, 1])


def _centre_range(sizes: np.ndarray, span: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest centre of a view inside the image, or, along a shorter side, around it."""
    return np.minimum(span / 2, sizes - span / 2), np.maximum(span / 2, sizes - span / 2)
