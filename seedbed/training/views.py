"""Random views of an image: where its pixels go, and which colours they take."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seedbed.methods.resampling import resize_image


@dataclass(frozen=True)
class View:
    """Which random views of an image are drawn.

    crop: side of the square seen, pixels. warp: the image's whole is squeezed onto the square
    before anything else, its aspect lost; otherwise a square piece is cut, and without zoom and
    rotation its pixels are the image's own. long_side: the image is first resized so that its
    longer side has a length from that range, pixels, both ends included; never with warp.
    scale: range of the zoom, which samples between the pixels and smooths nothing. rotate:
    degrees, both ways. jitter: ± share of brightness, contrast and saturation; hue: ± share of
    the colour circle. padding: RGB levels beyond the image, None: its mean. placement: "random",
    or "top_left" of the view for an image that is smaller. resampling: how the image is warped,
    as in `resampling.resize`; "half_pixel" comes with zoom and rotation in one step.
    """

    crop: int
    warp: bool = True
    long_side: tuple[int, int] | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    rotate: float = 0.0
    flip: bool = True
    jitter: float = 0.0
    hue: float = 0.0
    padding: tuple[float, float, float] | None = None
    placement: str = "random"
    resampling: str = "half_pixel"

    def rescale(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """The image (3, H, W) in [0, 255] at the size that the view is drawn at: mostly its own.

        A longer side from `long_side` comes from Pillow's bicubic filter, which smooths where it
        shrinks (PSA).
        """
        if self.long_side:
            height, width = image.shape[1:]
            zoom = rng.integers(*self.long_side, endpoint=True) / max(height, width)
            size = max(1, round(height * zoom)), max(1, round(width * zoom))
            return resize_image(image[None], size, "bicubic")[0]
        if self.warp and self.resampling != "half_pixel":
            return resize_image(image[None], (self.crop, self.crop), self.resampling)[0]
        return image

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
        if self.placement == "top_left":
            low = span / 2
        if not self.warp and zoom == 1 and self.rotate == 0:
            centre = span / 2 + rng.integers(low - span / 2, high - span / 2, endpoint=True)
        else:
            centre = rng.uniform(low, high)
        turn = np.array([[cos, -sin], [sin, cos]]) @ np.diag([mirror * span[0], span[1]])
        return torch.tensor(
            np.column_stack([turn / sizes[:, None], 2 * centre / sizes - 1]), dtype=torch.float32
        )

    def render(self, image: Tensor, theta: Tensor, rng: np.random.Generator) -> Tensor:
        """A rescaled image (3, H, W) in [0, 255] seen through theta: (3, crop, crop)."""
        seen = see(image, theta, self.crop, "bilinear", padding=image.mean((1, 2)))
        seen = shift_hue(jitter(seen, self.jitter, rng), self.hue, rng)
        if self.padding is None:
            return seen
        colour = torch.tensor(self.padding).view(3, 1, 1)  # the jitter leaves it alone
        return torch.where(beyond(theta, self.crop), colour, seen)


def see(maps: Tensor, theta: Tensor, size: int, mode: str, padding: Tensor) -> Tensor:
    """Maps (C, H, W) seen through theta at (C, size, size); outside the image: padding (C,)."""
    shifted = maps.float() - padding[:, None, None]  # grid_sample pads with zeros
    grid = _grid(theta, size)
    seen = F.grid_sample(shifted[None], grid, mode=mode, align_corners=False)[0]
    return seen + padding[:, None, None]


def beyond(theta: Tensor, size: int) -> Tensor:
    """Which cells of a view have their centre outside the image: (size, size) bool."""
    return (_grid(theta, size)[0].abs() > 1).any(-1)


def _grid(theta: Tensor, size: int) -> Tensor:
    return F.affine_grid(theta[None], [1, 1, size, size], align_corners=False)


def jitter(image: Tensor, amount: float, rng: np.random.Generator) -> Tensor:
    """Brightness, contrast and saturation of an image (3, H, W) changed by up to ± amount."""
    if amount == 0:
        return image
    brightness, contrast, saturation = (float(x) for x in 1 + rng.uniform(-amount, amount, 3))
    image = image * brightness
    image = image.mean() + (image - image.mean()) * contrast
    grey = image.mean(0, keepdim=True)
    return (grey + (image - grey) * saturation).clamp(0, 255)


def shift_hue(image: Tensor, amount: float, rng: np.random.Generator) -> Tensor:
    """An RGB image (3, H, W), its hue turned by up to ± amount of the circle.

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
    hue = torch.where(red == high, (green - blue) / chroma, hue).nan_to_num()  # grey has none
    place = (hue + sixths + torch.tensor([5.0, 3.0, 1.0]).view(3, 1, 1)) % 6
    return high - chroma * torch.minimum(place, 4 - place).clamp(0, 1)
