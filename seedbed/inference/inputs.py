"""Images as networks take them: a batch of one, where it is to be resized."""

import numpy as np
import torch
from torch import Tensor

from seedbed.methods.levels import PILLOW


def image_batch(image: np.ndarray, resampling: str, device: torch.device) -> Tensor:
    """An image as a batch for `resize_image`, on the device where that computes.

    Args:
        image: RGB uint8 (H, W, 3).
        resampling: method of `resize_image`; Pillow's need the image on the CPU.
        device: of the network.

    Returns:
        uint8 (1, 3, H, W).

    """
    pixels = torch.from_numpy(image)
    return (pixels if resampling in PILLOW else pixels.to(device)).permute(2, 0, 1)[None]
