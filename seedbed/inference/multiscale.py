"""Networks over several scales and horizontal flip."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from seedbed.data.index import ImageEntry
from seedbed.inference.inputs import image_batch
from seedbed.inference.precision import Precision, autocast
from seedbed.methods.resampling import resize_image
from seedbed.models.network import Network
from seedbed.runtime.errors import UserError

_TO_INTEGER: dict[str, Callable[[float], int]] = {
    "corner_aligned": lambda side: math.floor(side + 0.5),
    "tf_legacy": int,
}


@dataclass(frozen=True, kw_only=True)
class MultiScale:
    """Scales, flip and resampling of the images that a network is given.

    Attributes:
        scales: factors of the image's size.
        flip: whether the network is given the mirrored image as well, at each scale.
        size: side of a square in pixels to which the image is warped before scaling; None keeps
            its size.
        resampling: method of `seedbed.methods.resampling.resize_image`.
        precision: of the network's operations.

    """

    scales: Sequence[float]
    flip: bool
    size: int | None
    resampling: str
    precision: Precision

    def input_sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Size (rows, columns) of the network's input at each scale, at least one pixel.

        Sizes are rounded to the nearest integer, halves to the even one as by Python and OpenCV;
        with "corner_aligned" halves up, as by SciPy under Python 2 (DSRG), and with "tf_legacy"
        they are truncated, as by TensorFlow 1.
        """
        to_integer = _TO_INTEGER.get(self.resampling, round)
        whole = (self.size, self.size) if self.size else (height, width)
        return [tuple(max(1, to_integer(side * scale)) for side in whole) for scale in self.scales]


def multi_scale(
    network: Callable[[Tensor], Tensor],
    image: np.ndarray,
    options: MultiScale,
    device: torch.device,
) -> list[Tensor]:
    """Outputs of a network for one image at several scales.

    The image and its mirror image form one batch. Different images are never batched: the batch
    size affects the order of summation, and so an image's result would depend on the others.

    Args:
        network: images (N, 3, h, w) in [0, 255], not preprocessed → maps (N, C, h', w').
        image: RGB uint8 (H, W, 3).
        options: scales, flip, size, resampling and precision.
        device: the network's device.

    Returns:
        Maps (C, h', w') float32 in the order of the scales; with flip, each is followed by the map
        of the mirrored image, mirrored back.

    """
    pixels = image_batch(image, options.resampling, device)
    outputs: list[Tensor] = []
    for size in options.input_sizes(*image.shape[:2]):
        resized = resize_image(pixels, size, options.resampling).to(device).float()
        batch = torch.cat([resized, resized.flip(-1)]) if options.flip else resized
        with autocast(device, options.precision):
            plain, *mirrored = network(batch).float()
        outputs += [plain, *(output.flip(-1) for output in mirrored)]
    return outputs


def check_input_sizes(entries: Sequence[ImageEntry], network: Network, options: MultiScale) -> None:
    """Raise UserError for the first image that is too small for the network at some scale."""
    for entry in entries:
        side = min(min(size) for size in options.input_sizes(entry.height, entry.width))
        if side < network.min_side:
            raise UserError(
                f"{entry.path}: shown to the network with {side} pixels a side, which needs "
                f"{network.min_side}; enlarge the image, take it out of the data or set larger "
                "scales"
            )
