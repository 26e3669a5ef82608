"""The fully connected CRF of Krähenbühl & Koltun (NIPS 2011): mean field with tensors.

Two Potts kernels over all pairs of pixels: a Gaussian one of position and a bilateral one of
position and colour, both normalised symmetrically, D^-1/2 K D^-1/2. A pixel's message includes
the pixel itself, as in Krähenbühl's own code, so a Gaussian kernel narrower than a pixel
strengthens whatever the pixel already believes.
"""

import torch
from torch import Tensor

from seedbed.crf.lattice import Lattice, SumOfLattices
from seedbed.crf.parameters import CRFParameters

LOWEST = -60.0  # exp of less ends as denormals, which slow the CPU down
HIGHEST = 60.0  # up to here exp is far from overflow


@torch.no_grad()
def mean_field(images: Tensor, unary: Tensor, params: CRFParameters) -> Tensor:
    """Approximate posterior float32 (N, C, H, W), on the device of `unary`.

    Args:
        images: RGB uint8 (N, H, W, 3).
        unary: energies float32 (N, C, H, W); a channel of +inf takes no part.
        params: the kernels' weights and standard deviations, and the number of iterations.

    """
    batch, channels, height, width = unary.shape
    logits = unary.amin(1, keepdim=True) - unary
    logits = logits.permute(0, 2, 3, 1).reshape(-1, channels)
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=unary.device),
        torch.arange(width, dtype=torch.float32, device=unary.device),
        indexing="ij",
    )
    place = torch.stack([columns, rows], dim=-1).view(1, -1, 2).expand(batch, -1, -1)
    colour = images.to(unary.device).reshape(batch, -1, 3).float()
    far = torch.cat([place / params.bilateral_sxy, colour / params.bilateral_srgb], dim=2)
    near_extents, far_extents = params.extents(height, width)
    kernels = SumOfLattices(
        [
            Lattice(place / params.gaussian_sxy, near_extents, params.gaussian_weight),
            Lattice(far, far_extents, params.bilateral_weight),
        ]
    )
    # No label's message exceeds that of a posterior of 1 everywhere. Where this is moderate, there
    # is no need to find and subtract each row's largest logit, which is slow.
    moderate = bool(kernels(logits.new_ones(len(logits), 1)).max() < HIGHEST)
    posterior = softmax_(logits.clone(), moderate)
    for _ in range(int(params.iterations)):
        posterior = softmax_(kernels(posterior).add_(logits), moderate)
    return posterior.view(batch, height, width, channels).permute(0, 3, 1, 2).contiguous()


def softmax_(logits: Tensor, moderate: bool) -> Tensor:
    """Softmax of rows (…, C) in their place; `moderate`: their largest lie from 0 to HIGHEST."""
    if not moderate:
        logits -= logits.amax(1, keepdim=True)
    logits.clamp_(min=LOWEST).exp_()
    return logits.div_(logits.sum(1, keepdim=True))
