"""Class probabilities of a segmentation network: fusion of its logits over scales and flip.

They are passed on and stored as natural logarithms. Float16 holds those with nearly the same
relative precision however small the probability is, so that classes can still be compared where
another one is certain; as a probability it would hold nothing below 6e-8.

The fusion rules are those of the published test scripts: DSRG's test-ms.py ("sum"), the metrics
tool of its TensorFlow port ("max_with_zero", "scaled_then_nearest"), SPSM's test_vocspsm_*.py
("max", "max_probabilities", on the grid) and ResNet-38's infer_seg.py ("mean").
"""

import hashlib
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from seedbed.inference.multiscale import MultiScale, multi_scale
from seedbed.methods.dsrg.losses import smooth_softmax
from seedbed.methods.regions import Region, size_of, whole_region
from seedbed.methods.resampling import resize_part
from seedbed.models.network import Network
from seedbed.runtime.choices import check_choice

Fuse = Literal["mean", "sum", "max", "max_with_zero", "max_probabilities"]
FuseOn = Literal["image", "grid"]

MIN_PROBABILITY = 0.05  # most classes that nowhere reach it are not stored


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """How the outputs of several scales become one probability map.

    Attributes:
        fuse: "mean", "sum" (equivalent to a lower softmax temperature), "max" or "max_with_zero"
            (maximum of 0 and the logits) of the logits, followed by the softmax; or
            "max_probabilities": maximum of the smoothed softmax of each output, renormalised.
        fuse_on: "image": outputs are resized to the image and fused there; "grid": they are fused
            on the largest grid of an output, that of the largest scale, and the result is resized.
        map_resampling: method of `seedbed.methods.resampling.resize` for the outputs; or
            "scaled_then_nearest": "tf_legacy" to the size of the network's input, then "nearest".

    Raises:
        ValueError: if `fuse` or `fuse_on` is none of these.

    """

    fuse: Fuse
    fuse_on: FuseOn
    map_resampling: str

    def __post_init__(self) -> None:
        check_choice("fuse", self.fuse, Fuse)
        check_choice("fuse_on", self.fuse_on, FuseOn)


@dataclass(frozen=True, kw_only=True)
class PredictionOptions(MultiScale, Fusion):
    """Options of `class_log_probabilities`.

    Attributes:
        seed: with the image's id determines the draws of a dropout that stays active in evaluation.

    """

    seed: int


def fuse_logits(
    outputs: Sequence[Tensor],
    size: tuple[int, int],
    fusion: Fusion,
    input_sizes: Sequence[tuple[int, int]] = (),
) -> Tensor:
    """Logarithms of class probabilities from the logits of several scales.

    Args:
        outputs: logits, one (C, h_i, w_i) per scale.
        size: (H, W) of the image.
        fusion: the rule.
        input_sizes: size of the network's input for each output; only needed for
            "scaled_then_nearest".

    Returns:
        (C, H, W); the probabilities sum to 1 over C.

    """
    parts = [(output, whole_region(output.shape[-2:])) for output in outputs]
    return fuse_parts(parts, whole_region(size), fusion, input_sizes)


def fuse_parts(
    outputs: Sequence[tuple[Tensor, Region]],
    wanted: Region,
    fusion: Fusion,
    input_sizes: Sequence[tuple[int, int]] = (),
) -> Tensor:
    """`fuse_logits` for a part of an image.

    Args:
        outputs: logits (C, h_i, w_i) and the part of the whole image's grid that they are.
        wanted: the part of the image.
        fusion: the rule.
        input_sizes: see `fuse_logits`; of the whole image.

    Returns:
        (C, *lengths of the parts of `wanted`); the probabilities sum to 1 over C.

    """
    method = fusion.map_resampling
    if method == "scaled_then_nearest":
        method = "nearest"
        outputs = [
            _resize_to_input(output, region, wanted, size)
            for (output, region), size in zip(outputs, input_sizes, strict=True)
        ]
    largest = max((region for _, region in outputs), key=size_of)
    fused_on = wanted if fusion.fuse_on == "image" else largest
    of_probabilities = fusion.fuse == "max_probabilities"
    maps = (
        resize_part(
            smooth_softmax(output[None]) if of_probabilities else output[None],
            region,
            fused_on,
            method,
        )
        for output, region in outputs
    )
    fused = _fuse(maps, len(outputs), fusion.fuse)
    fused = resize_part(fused, fused_on, wanted, method)[0]
    return (fused / fused.sum(0)).log() if of_probabilities else fused.log_softmax(0)


def _resize_to_input(
    output: Tensor, region: Region, wanted: Region, size: tuple[int, int]
) -> tuple[Tensor, Region]:
    """Resize a part of the logits to the size of the network's input, as far as it is wanted."""
    rows, columns = (part.source(side) for part, side in zip(wanted, size, strict=True))
    resized = resize_part(output[None], region, (rows, columns), "tf_legacy")
    return resized[0], (rows, columns)


def _fuse(maps: Iterable[Tensor], count: int, fuse: Fuse) -> Tensor:
    """Fuse `count` maps of one shape, one at a time to save memory."""
    if fuse in ("mean", "sum"):
        total = reduce(torch.add, maps)
        return total / count if fuse == "mean" else total
    maximum = reduce(torch.maximum, maps)
    return maximum.clamp(min=0) if fuse == "max_with_zero" else maximum


@torch.no_grad()
def class_log_probabilities(
    model: Network,
    image: np.ndarray,
    image_id: str,
    options: PredictionOptions,
    *,
    keep: Collection[int],
    device: torch.device,
) -> tuple[np.ndarray, list[int]]:
    """Logarithms of the probabilities of the classes that a network finds in an image.

    Args:
        model: a segmentation network in evaluation mode, on `device`.
        image: RGB uint8 (H, W, 3).
        image_id: see `PredictionOptions.seed`.
        options: scales, flip and resampling of the image, and how the outputs are fused.
        keep: class ids that are returned whatever their probability.
        device: the model's device.

    Returns:
        (C', H, W) float16 and the C' class ids in ascending order: background, `keep`, and each
        class that at some pixel has a probability of 0.05 or, of more than 20 classes, the highest.

    """
    size = image.shape[:2]
    torch.manual_seed(image_seed(image_id, options.seed))
    outputs = multi_scale(lambda images: model(model.preprocess(images)), image, options, device)
    views = 1 + options.flip  # outputs per scale
    input_sizes = [each for each in options.input_sizes(*size) for _ in range(views)]
    return found_classes(fuse_logits(outputs, size, options, input_sizes), keep)


def found_classes(log_probabilities: Tensor, keep: Collection[int]) -> tuple[np.ndarray, list[int]]:
    """Of all classes (C, H, W) those that `class_log_probabilities` returns, and their ids."""
    least = math.log(MIN_PROBABILITY)
    stored = log_probabilities.amax((1, 2)) >= least
    unsure = log_probabilities.amax(0) < least  # pixels (H, W)
    stored[log_probabilities[:, unsure].argmax(0)] = True
    stored[[0, *keep]] = True
    halves = log_probabilities[stored].clamp(min=torch.finfo(torch.float16).min).half()
    return halves.cpu().numpy(), stored.nonzero()[:, 0].tolist()


def image_seed(image_id: str, seed: int) -> int:
    """Seed that depends only on the image and `seed`, not on the process or the order of images."""
    return int.from_bytes(hashlib.sha256(f"{seed} {image_id}".encode()).digest()[:8])
