"""Where a view lies in its image, and sampling of the image and its labels there."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Placement(NamedTuple):
    """Where the view of an image lies in it.

    Attributes:
        theta: affine map (2, 3) from the view's to the image's (x, y) coordinates, both in [-1, 1]
            as in `torch.nn.functional.affine_grid`.
        crop: side of the view in pixels.
        label_size: (rows, columns) to which labels are resized by TensorFlow 1's nearest neighbour
            before they are sampled; None: they keep their size.

    """

    theta: Tensor
    crop: int
    label_size: tuple[int, int] | None = None

    @property
    def mirrored(self) -> bool:
        """Whether the view is a mirror image."""
        return bool(torch.det(self.theta[:, :2]) < 0)

    def labels(self, maps: Tensor, size: int, mode: str, padding: Tensor) -> Tensor:
        """Sample labels (C, H, W) of any resolution under the view: (C, size, size) float32.

        mode and padding: see `warp`.
        """
        if self.label_size is not None:  # pixel i is taken from ⌊i · H / rows⌋, in float32
            maps = F.interpolate(maps[None].float(), self.label_size, mode="nearest")[0]
        return warp(maps, self.theta, size, mode, padding)


def warp(maps: Tensor, theta: Tensor, size: int, mode: str, padding: Tensor) -> Tensor:
    """Sample maps under an affine map.

    Near the image's border, interpolation repeats the outermost pixels.

    Args:
        maps: (C, H, W), any dtype.
        theta: (2, 3), see `Placement`.
        size: side of the result in cells.
        mode: "nearest", "bilinear", or "levels" for bilinear samples rounded to whole numbers.
        padding: (C,) values of the cells whose centre is outside the image.

    Returns:
        (C, size, size) float32.

    """
    grid = F.affine_grid(theta[None], [1, 1, size, size], align_corners=False)
    interpolation = "nearest" if mode == "nearest" else "bilinear"
    sampled = F.grid_sample(
        maps[None].float(), grid, mode=interpolation, padding_mode="border", align_corners=False
    )[0]
    if mode == "levels":
        sampled = sampled.round()
    x, y = grid[0].abs().unbind(-1)
    return torch.where((x > 1) | (y > 1), padding[:, None, None], sampled)
