"""Networks over scales and flip."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def multi_scale(
    network: Callable[[Tensor], Tensor],
    image: np.ndarray,
    *,
    scales: Sequence[float],
    flip: bool,
    size: int | None,
    device: torch.device,
) -> list[Tensor]:
    """Outputs (C, h, w) of a network for an image (H, W, 3) uint8 at several scales.

    network: raw images (N, 3, h, w) in [0, 255] → maps (N, C, ., .). size: warp the image to this
    square before scaling, None: keep its own size. With flip every scale also gives the mirrored
    image's output, mirrored back.
    """
    pixels = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float()
    height, width = (size, size) if size else image.shape[:2]
    outputs: list[Tensor] = []
    for scale in scales:
        target = (max(1, round(height * scale)), max(1, round(width * scale)))
        scaled = F.interpolate(
            pixels, size=target, mode="bilinear", align_corners=False, antialias=True
        )
        if flip:
            plain, mirrored = network(torch.cat([scaled, scaled.flip(-1)])).float()
            outputs += [plain, mirrored.flip(-1)]
        else:
            outputs.append(network(scaled)[0].float())
    return outputs


def fuse_logits(outputs: Sequence[Tensor], size: tuple[int, int], fuse: str) -> Tensor:
    """Softmax (C, H, W) of logits brought to one size and fused.

    fuse: "mean" (ResNet-38), "sum" (DSRG: a softmax of lower temperature) or "max" (SPSM).
    """
    fused = None
    for output in outputs:
        logits = F.interpolate(output[None], size=size, mode="bilinear", align_corners=False)[0]
        if fused is None:
            fused = logits
        else:
            fused = torch.maximum(fused, logits) if fuse == "max" else fused + logits
    if fuse == "mean":
        fused = fused / len(outputs)
    return fused.softmax(0)
