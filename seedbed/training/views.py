"""Random views of an image: an affine map of its coordinates, and changes of its colours."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seedbed.methods.resampling import resize_image


@dataclass(frozen=True, kw_only=True)
class View(ABC):
    """The distribution of the random views of an image: data augmentation.

    crop: side of the square view in pixels. scale: range of the random zoom. It samples between
    the pixels without smoothing. rotate: largest angle in degrees, both ways. flip: mirror with
    probability one half. jitter: largest relative change of brightness, contrast and saturation.
    hue: largest turn of the hue, as a share of the colour circle. padding: RGB levels outside the
    image; None: the image's mean.
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
        """The image (3, H, W) in [0, 255] at the size at which the view is drawn."""

    @abstractmethod
    def _span(self, sizes: np.ndarray, zoom: float) -> np.ndarray:
        """Pixels (x, y) of an image of sizes (width, height) that the view covers."""

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Tensor:
        """Draw the affine map (2, 3) from the view's to the image's normalised (x, y) coordinates.

        Normalised are coordinates in [-1, 1], as in `torch.nn.functional.affine_grid`.
        """
        zoom = rng.uniform(*self.scale)
        mirror = -1.0 if self.flip and rng.random() < 0.5 else 1.0
        angle = np.deg2rad(rng.uniform(-self.rotate, self.rotate))
        cos, sin = np.cos(angle), np.sin(angle)
        sizes = np.array([width, height], float)
        span = self._span(sizes, zoom)
        centre = self._centre(sizes, span, zoom, rng)
        linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([mirror * span[0], span[1]])
        return torch.tensor(
            np.column_stack([linear / sizes[:, None], 2 * centre / sizes - 1]), dtype=torch.float32
        )

    def _centre(
        self, sizes: np.ndarray, span: np.ndarray, zoom: float, rng: np.random.Generator
    ) -> np.ndarray:
        """Draw the view's centre (x, y) in pixels of the image."""
        return rng.uniform(*_centre_range(sizes, span))

    def render(self, image: Tensor, theta: Tensor, rng: np.random.Generator) -> Tensor:
        """A rescaled image (3, H, W) in [0, 255] under the map theta: (3, crop, crop)."""
        view = warp(image, theta, self.crop, "bilinear", padding=image.mean((1, 2)))
        view = shift_hue(jitter(view, self.jitter, rng), self.hue, rng)
        if self.padding is None:
            return view
        colour = torch.tensor(self.padding).view(3, 1, 1)  # unchanged by the jitter
        return torch.where(outside_image(theta, self.crop), colour, view)


@dataclass(frozen=True, kw_only=True)
class WarpView(View):
    """The whole image, warped to the square without keeping its aspect.

    resampling: how the image is resized, a mode of `seedbed.methods.resampling.resize`;
    "half_pixel" is done in one step with zoom and rotation.
    """

    resampling: str

    def rescale(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """The image resized to the square; its own size for "half_pixel"."""
        if self.resampling == "half_pixel":
            return image
        return resize_image(image[None], (self.crop, self.crop), self.resampling)[0]

    def _span(self, sizes: np.ndarray, zoom: float) -> np.ndarray:
        return sizes / zoom


@dataclass(frozen=True, kw_only=True)
class CropView(View):
    """A square part of the image, which keeps its aspect.

    long_side: the image is first resized to a longer side drawn from this range of pixels, both
    ends included; None: it keeps its size. placement: "random", or "top_left" of the view for an
    image that is smaller. Without zoom and rotation the view has the image's own pixels, not
    interpolated ones.
    """

    long_side: tuple[int, int] | None
    placement: str

    def rescale(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """The image with its drawn longer side, by Pillow's bicubic filter (as PSA)."""
        if self.long_side is None:
            return image
        height, width = image.shape[1:]
        zoom = rng.integers(*self.long_side, endpoint=True) / max(height, width)
        size = max(1, round(height * zoom)), max(1, round(width * zoom))
        return resize_image(image[None], size, "bicubic")[0]

    def _span(self, sizes: np.ndarray, zoom: float) -> np.ndarray:
        return np.full(2, self.crop / zoom)

    def _centre(
        self, sizes: np.ndarray, span: np.ndarray, zoom: float, rng: np.random.Generator
    ) -> np.ndarray:
        low, high = _centre_range(sizes, span)
        if self.placement == "top_left":
            low = span / 2
        if zoom == 1 and self.rotate == 0:  # whole pixels
            return span / 2 + rng.integers(low - span / 2, high - span / 2, endpoint=True)
        return rng.uniform(low, high)


def _centre_range(sizes: np.ndarray, span: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest centre of a view inside the image, or, along a shorter side, around it."""
    return np.minimum(span / 2, sizes - span / 2), np.maximum(span / 2, sizes - span / 2)


def warp(maps: Tensor, theta: Tensor, size: int, mode: str, padding: Tensor) -> Tensor:
    """Sample maps (C, H, W) under the map theta: (C, size, size); padding (C,) outside the image.

    mode: of `torch.nn.functional.grid_sample`.
    """
    shifted = maps.float() - padding[:, None, None]  # grid_sample pads with zeros
    grid = _grid(theta, size)
    warped = F.grid_sample(shifted[None], grid, mode=mode, align_corners=False)[0]
    return warped + padding[:, None, None]


def outside_image(theta: Tensor, size: int) -> Tensor:
    """Whether the centres of a view's cells lie outside the image: (size, size) bool."""
    return (_grid(theta, size)[0].abs() > 1).any(-1)


def _grid(theta: Tensor, size: int) -> Tensor:
    return F.affine_grid(theta[None], [1, 1, size, size], align_corners=False)


def jitter(image: Tensor, amount: float, rng: np.random.Generator) -> Tensor:
    """Change brightness, contrast and saturation of an image (3, H, W) by up to ± amount."""
    if amount == 0:
        return image
    brightness, contrast, saturation = (float(x) for x in 1 + rng.uniform(-amount, amount, 3))
    image = image * brightness
    image = image.mean() + (image - image.mean()) * contrast
    grey = image.mean(0, keepdim=True)
    return (grey + (image - grey) * saturation).clamp(0, 255)


def shift_hue(image: Tensor, amount: float, rng: np.random.Generator) -> Tensor:
    """Turn the hue of an RGB image (3, H, W) by up to ± amount of the colour circle.

    Value and saturation (HSV) stay.
    """
    if amount == 0:
        return image
    sixths = 6 * rng.uniform(-amount, amount)
    red, green, blue = image
    high = image.amax(0)
    chroma = high - image.amin(0)
    from_green = 2 + (blue - red) / chroma
    from_blue = 4 + (red - green) / chroma
    hue = torch.where(green == high, from_green, from_blue)
    hue = torch.where(red == high, (green - blue) / chroma, hue).nan_to_num()  # grey: no hue
    place = (hue + sixths + torch.tensor([5.0, 3.0, 1.0]).view(3, 1, 1)) % 6
    return high - chroma * torch.minimum(place, 4 - place).clamp(0, 1)
