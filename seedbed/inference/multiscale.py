"""Networks over scales and flip."""

import hashlib
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from torch import Tensor

from seedbed.data.index import ImageEntry
from seedbed.inference.precision import mixed_precision
from seedbed.methods.dsrg.losses import smooth_softmax
from seedbed.methods.resampling import resize, resize_image
from seedbed.models.network import Network
from seedbed.runtime.errors import UserError

LEAST = 0.05  # a class that is nowhere as probable is left out


def scaled_sizes(
    size: tuple[int, int], scales: Sequence[float], *, flip: bool, resampling: str = "antialias"
) -> list[tuple[int, int]]:
    """Sizes of the images that `multi_scale` shows the network, one for each of its outputs.

    Rounded, but with "tf_legacy" cut, as TensorFlow 1 casts them.
    """
    whole = int if resampling == "tf_legacy" else round
    sizes = [tuple(max(1, whole(side * scale)) for side in size) for scale in scales]
    return [size for size in sizes for _ in range(1 + flip)]


def check_sides(
    entries: Sequence[ImageEntry], network: Network, size: int | None, scales: Sequence[float]
) -> None:
    """Raise UserError for the first image with a side too small for the network at a scale."""
    for entry in entries:
        side = round((size or min(entry.height, entry.width)) * min(scales))
        if side < network.least_side:
            raise UserError(
                f"{entry.path}: shown to the network with {side} pixels a side, which needs "
                f"{network.least_side}; enlarge the image, take it out of the data or set larger "
                "scales"
            )


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
    square times each scale, None: keep its aspect. resampling: as in `resampling.resize`.
    With flip every scale also gives the mirrored image's output, mirrored back: the two are one
    batch. Other images never join it, for a batch of another size is summed in another order, and
    what an image gives would hang on its neighbours. On a GPU the network works in bfloat16.
    """
    pixels = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float()
    whole = (size, size) if size else image.shape[:2]
    outputs: list[Tensor] = []
    for target in scaled_sizes(whole, scales, flip=False, resampling=resampling):
        scaled = resize_image(pixels, target, resampling)
        sides = torch.cat([scaled, scaled.flip(-1)]) if flip else scaled
        with mixed_precision(device):
            plain, *mirrored = network(sides).float()
        outputs += [plain, *(side.flip(-1) for side in mirrored)]
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
        map_resampling: how the maps are resized, as in `resampling.resize`; or
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


@torch.no_grad()
def probable_classes(
    model: Network,
    image: np.ndarray,
    image_id: str,
    *,
    scales: Sequence[float],
    flip: bool,
    size: int | None,
    resampling: str,
    map_resampling: str,
    fuse: str,
    fuse_on: str,
    seed: int,
    device: torch.device,
    keep: Collection[int] = (),
) -> tuple[np.ndarray, list[int]]:
    """What a segmentation network says of an image (H, W, 3) uint8.

    `model` is in evaluation mode and on `device`. How it sees the image is said as in
    `multi_scale`, what becomes of its logits as in `fuse_logits`; `image_id` and `seed` alone
    decide what a dropout that stays on draws.

    Returns probabilities (C', H, W) float16 and C' ascending class ids: background, those of
    `keep`, and every class that is as probable as 0.05 somewhere.
    """
    height, width = image.shape[:2]
    torch.manual_seed(_seed_of(image_id, seed))
    outputs = multi_scale(
        lambda images: model(model.preprocess(images)),
        image,
        scales=scales,
        flip=flip,
        size=size,
        device=device,
        resampling=resampling,
    )
    warped = (size, size) if size else (height, width)
    probs = fuse_logits(
        outputs,
        (height, width),
        fuse,
        map_resampling=map_resampling,
        fuse_on=fuse_on,
        scaled=scaled_sizes(warped, scales, flip=flip, resampling=resampling),
    )
    stored = probs.amax((1, 2)) >= LEAST
    stored[[0, *keep]] = True
    return probs[stored].half().cpu().numpy(), stored.nonzero()[:, 0].tolist()


def _seed_of(image_id: str, seed: int) -> int:
    """A seed from the image alone, whoever works on it."""
    return int.from_bytes(hashlib.sha256(f"{seed} {image_id}".encode()).digest()[:8])
