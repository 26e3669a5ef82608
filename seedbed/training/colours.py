"""Random changes of an image's colours, those of torchvision's `ColorJitter` on Pillow images."""

from functools import partial

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch import Tensor

_FACTORS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def jitter(image: Tensor, amount: float, hue: float, rng: np.random.Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue of an image (3, H, W) in random order.

    Factors of the first three are drawn evenly from 1 ± amount, the turn of the hue from ± hue of
    the colour circle. Grey is .299 R + .587 G + .114 B; contrast is relative to the mean grey of
    the image. Levels are whole and in [0, 255] after each change. An amount of 0 changes nothing.
    """
    changes = []
    if amount > 0:
        factors = 1 + rng.uniform(-amount, amount, len(_FACTORS))
        changes += [partial(_enhance, *each) for each in zip(_FACTORS, factors, strict=True)]
    if hue > 0:
        changes.append(partial(turn_hue, turn=rng.uniform(-hue, hue)))
    if not changes:
        return image
    picture = Image.fromarray(_levels(image).permute(1, 2, 0).contiguous().numpy())
    for index in rng.permutation(len(changes)):
        picture = changes[index](picture)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).to(image)


def _levels(image: Tensor) -> Tensor:
    return (image.round() if image.is_floating_point() else image).byte()


def _enhance(kind: type, factor: float, picture: Image.Image) -> Image.Image:
    return kind(picture).enhance(factor)


def turn_hue(picture: Image.Image, turn: float) -> Image.Image:
    """Turn the hue of an RGB picture by a share of the colour circle, in steps of 1/256 (HSV)."""
    hue, saturation, value = picture.convert("HSV").split()
    steps = int(turn * 255)
    turned = hue.point([(level + steps) % 256 for level in range(256)])
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")
