"""The fully connected CRF of Krähenbühl & Koltun (NIPS 2011): mean field with tensors.

The pairwise potentials are Potts, with a Gaussian kernel of position and a bilateral kernel of
position and colour over all pairs of pixels, both normalised symmetrically: D^-1/2 K D^-1/2. As in
the authors' code a pixel's message includes the pixel itself, so a Gaussian kernel narrower than a
pixel strengthens the pixel's own belief.
"""

from functools import lru_cache

import torch
from torch import Tensor

from seedbed.crf.lattice import Lattice, SumOfLattices
from seedbed.crf.parameters import CRFParameters

MIN_LOGIT = -60.0  # exp of less gives denormals, which are slow on CPUs
MAX_LOGIT = 60.0  # exp of it is far from overflow
MAX_CACHED_PIXELS = 2**20  # of a Gaussian lattice kept for the next image, about 60 bytes a pixel


@torch.no_grad()
def mean_field(
    images: Tensor, unary: Tensor, params: CRFParameters, *, asynchronous: bool = False
) -> Tensor:
    """Approximate posterior float32 (N, C, H, W), on the device of `unary`.

    Args:
        images: uint8 (N, H, W, 3).
        unary: energies float32 (N, C, H, W); a channel of +inf takes no part.
        params: kernels and number of iterations.
        asynchronous: avoid every synchronisation with the device, as inside a training step; the
            lattices then have a fixed size (see `Lattice`). The first batch of each shape still
            synchronises.

    """
    batch, channels, height, width = unary.shape
    logits = unary.amin(1, keepdim=True) - unary
    # Contiguous rows of labels: a strided view, enough for a single image, is read four times
    # more slowly.
    logits = logits.permute(0, 2, 3, 1).contiguous().view(-1, channels)
    kernels = _pairwise_kernels(images.to(unary.device), params, asynchronous)
    posterior = infer(kernels, logits, int(params.iterations), asynchronous=asynchronous)
    return posterior.view(batch, height, width, channels).permute(0, 3, 1, 2).contiguous()


@torch.no_grad()
def infer(
    kernels: SumOfLattices,
    logits: Tensor,
    iterations: int,
    *,
    start: Tensor | None = None,
    asynchronous: bool = False,
) -> Tensor:
    """Posterior float32 (P, C) of points after mean-field iterations.

    Args:
        kernels: the pairwise potentials.
        logits: negative energies (P, C), each row's maximum 0.
        iterations: their number.
        start: posterior (P, C) before them; None: the softmax of the logits.
        asynchronous: see `mean_field`.

    """
    # No message exceeds that of a posterior of 1 everywhere. If that is small enough for exp, the
    # slow subtraction of each row's maximum is left out.
    ones = logits.new_ones(len(logits), 1)
    small = not asynchronous and bool(kernels(ones).max() < MAX_LOGIT)
    posterior = _softmax_(logits.clone(), small) if start is None else start
    for _ in range(iterations):
        posterior = _softmax_(kernels(posterior).add_(logits), small)
    return posterior


def _pairwise_kernels(images: Tensor, params: CRFParameters, asynchronous: bool) -> SumOfLattices:
    """Both kernels of images (N, H, W, 3)."""
    batch, height, width, _ = images.shape
    colours = images.reshape(batch, -1, 3).float()
    positions = _positions(batch, height, width, images.device) / params.bilateral_sxy
    features = torch.cat([positions, colours / params.bilateral_srgb], dim=2)
    extents = params.extents(height, width)[1]
    bilateral = Lattice(
        features,
        extents,
        params.bilateral_weight,
        fixed_size=asynchronous,
        senders=_senders(batch, height, width, params.stride, images.device),
    )
    cached = asynchronous or batch * height * width <= MAX_CACHED_PIXELS
    gaussian = _cached_gaussian_lattice if cached else _gaussian_lattice
    return SumOfLattices([gaussian(batch, height, width, params, images.device), bilateral])


def _softmax_(logits: Tensor, small: bool) -> Tensor:
    """Softmax of rows (…, C), in place; `small`: their maxima lie between 0 and MAX_LOGIT."""
    if not small:
        logits -= logits.amax(1, keepdim=True)
    logits.clamp_(min=MIN_LOGIT).exp_()
    return logits.div_(logits.sum(1, keepdim=True))


def _positions(batch: int, height: int, width: int, device: torch.device) -> Tensor:
    """Coordinates x and y of every pixel, float32 (N, H · W, 2)."""
    rows, columns = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=device),
        torch.arange(width, dtype=torch.float32, device=device),
        indexing="ij",
    )
    return torch.stack([columns, rows], dim=-1).view(1, -1, 2).expand(batch, -1, -1)


def _senders(
    batch: int, height: int, width: int, stride: int, device: torch.device
) -> Tensor | None:
    """Which pixels send messages, bool (N · H · W,); None: all do."""
    if stride == 1:
        return None
    rows, columns = (torch.arange(size, device=device) % stride == 0 for size in (height, width))
    return (rows[:, None] & columns).flatten().repeat(batch)


def _gaussian_lattice(
    batch: int, height: int, width: int, params: CRFParameters, device: torch.device
) -> Lattice:
    """Lattice of the kernel of position, the same for all images of one size."""
    features = _positions(batch, height, width, device) / params.gaussian_sxy
    senders = _senders(batch, height, width, params.stride, device)
    extents = params.extents(height, width)[0]
    return Lattice(features, extents, params.gaussian_weight, senders=senders)


_cached_gaussian_lattice = lru_cache(maxsize=4)(_gaussian_lattice)
