"""Networks over scales and flip."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from seedbed.losses import smooth_softmax
from seedbed.resampling import resize, resize_image


def scaled_sizes(
    size: tuple[int, int], scales: Sequence[float], *, flip: bool
) -> list[tuple[int, int]]:
    """Sizes of the images that `multi_scale` shows the network, one for each of its outputs."""
    height, width = size
    sizes = [(max(1, round(height * scale)), max(1, round(width * scale))) for scale in scales]
    return [size for size in sizes for _ in range(1 + flip)]


def multi_scale(
    network: Callable[[Tensor], Tensor],
    image: np.ndarray,
    *,
    scales: Sequence[float],
    flip: bool,
    size: int | None,
    device: torch.device,
    resampling: str = "antialias",
) -> list[Tensor]:
    """Outputs (C, h, w) of a network for an image (H, W, 3) uint8 at several scales.

    network: raw images (N, 3, h, w) in [0, 255] → maps (N, C, ., .). size: warp the image to this
    square times each scale, None: keep its aspect. resampling: as in `seedbed.resampling.resize`.
    With flip every scale also gives the mirrored image's output, mirrored back.
    """
    pixels = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float()
    whole = (size, size) if size else image.shape[:2]
    outputs: list[Tensor] = []
    for target in scaled_sizes(whole, scales, flip=False):
        scaled = resize_image(pixels, target, resampling)
        if flip:
            plain, mirrored = network(torch.cat([scaled, scaled.flip(-1)])).float()
            outputs += [plain, mirrored.flip(-1)]
        else:
            outputs.append(network(scaled)[0].float())
    return outputs


def fuse_logits(
    outputs: Sequence[Tensor],
    size: tuple[int, int],
    fuse: str,
    *,
    map_resampling: str = "half_pixel",
    fuse_on: str = "image",
    scaled: Sequence[tuple[int, int]] = (),
) -> Tensor:
    """Probabilities (C, H, W) from logits (C, h, w) of several scales.

    Args:
        outputs: the logits.
        size: (H, W) of the image.
        fuse: "mean" (ResNet-38), "sum" (DSRG: a softmax of lower temperature), "max" (SPSM) or
            "max_with_zero" (DSRG's TensorFlow port begins with zeros) of the logits, and the
            softmax after it; or "max_probabilities" (SPSM's VGG): the maximum of each output's own
            smoothed softmax, normalised again.
        map_resampling: how the maps are resized, as in `seedbed.resampling.resize`; or
            "scaled_then_nearest" (the TensorFlow port): "tf_legacy" to the image that the network
            saw, and "nearest" from there.
        fuse_on: "image", or "grid": the maps meet on the grid of the first output, and what comes
            of them is resized once (SPSM).
        scaled: sizes of the images that the network saw, an output each; for
            "scaled_then_nearest" alone.

    """
    if map_resampling == "scaled_then_nearest":
        raised = [
            resize(output[None], seen, "tf_legacy")[0]
            for output, seen in zip(outputs, scaled, strict=True)
        ]
        return fuse_logits(raised, size, fuse, map_resampling="nearest", fuse_on=fuse_on)
    of_probabilities = fuse == "max_probabilities"
    meeting = size if fuse_on == "image" else outputs[0].shape[-2:]
    fused = None
    for output in outputs:
        maps = smooth_softmax(output[None]) if of_probabilities else output[None]
        maps = resize(maps, meeting, map_resampling)
        if fused is None:
            fused = maps
        else:
            fused = fused + maps if fuse in ("mean", "sum") else torch.maximum(fused, maps)
    if fuse == "mean":
        fused = fused / len(outputs)
    if fuse == "max_with_zero":
        fused = fused.clamp(min=0)
    fused = resize(fused, size, map_resampling)[0]
    return fused / fused.sum(0) if of_probabilities else fused.softmax(0)
