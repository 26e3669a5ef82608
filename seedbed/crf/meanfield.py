"""The fully connected CRF of Krähenbühl & Koltun (NIPS 2011): mean field with tensors.

Two Potts kernels over all pairs of pixels: a Gaussian one of position and a bilateral one of
position and colour, both normalised symmetrically, D^-1/2 K D^-1/2. A pixel's message includes
the pixel itself, as in Krähenbühl's own code, so a Gaussian kernel narrower than a pixel
strengthens whatever the pixel already believes.
"""

from functools import lru_cache

import torch
from torch import Tensor

from seedbed.crf.lattice import Lattice, SumOfLattices
from seedbed.crf.parameters import CRFParameters

LOWEST = -60.0  # exp of less ends as denormals, which slow the CPU down
HIGHEST = 60.0  # up to here exp is far from overflow
MOST_KEPT = 2**20  # pixels of a lattice that is kept for the next image, about 60 bytes each


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
    # Rows of labels: the view that a single image could do with is read at a quarter of the speed.
    logits = logits.permute(0, 2, 3, 1).contiguous().view(-1, channels)
    place = positions(batch, height, width, unary.device)
    colour = images.to(unary.device).reshape(batch, -1, 3).float()
    far = torch.cat([place / params.bilateral_sxy, colour / params.bilateral_srgb], dim=2)
    gaussian = kept_lattice if batch * height * width <= MOST_KEPT else gaussian_lattice
    kernels = SumOfLattices(
        [
            gaussian(batch, height, width, params, unary.device),
            Lattice(far, params.extents(height, width)[1], params.bilateral_weight),
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


def positions(batch: int, height: int, width: int, device: torch.device) -> Tensor:
    """Coordinates x and y of every pixel, float32 (N, H · W, 2)."""
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return torch.stack([columns, rows], dim=-1).view(1, -1, 2).expand(batch, -1, -1)


def gaussian_lattice(
    batch: int, height: int, width: int, params: CRFParameters, device: torch.device
) -> Lattice:
    """The lattice of the positions, which all images of one size share."""
    place = positions(batch, height, width, device) / params.gaussian_sxy
    return Lattice(place, params.extents(height, width)[0], params.gaussian_weight)


kept_lattice = lru_cache(maxsize=4)(gaussian_lattice)
