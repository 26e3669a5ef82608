"""PSA's random walk: spread an image's class scores over the cells of equal affinity.

Source: Ahn & Kwak, CVPR 2018 (PSA). A cell of the grid is 8 x 8 pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from seedbed.methods.psa.pairs import pair_offsets

CELL = 8


def with_background(cams: Tensor, alpha: float = 16.0) -> Tensor:
    """Put a background score (1 − max over the classes)^alpha before the CAMs.

    cams (…, K, H, W) in [0, 1], K ≥ 1 → (…, 1 + K, H, W). A large `alpha` leaves little background.
    PSA walks with 16; its labels for AffinityNet come from 4 and 32. Source: PSA.
    """
    background = (1 - cams.amax(dim=-3, keepdim=True)) ** alpha
    return torch.cat([background, cams], dim=-3)


def pad_to_cells(maps: Tensor) -> Tensor:
    """Add zeros right and below: (…, H, W) → (…, 8·⌈H/8⌉, 8·⌈W/8⌉), whole cells."""
    height, width = maps.shape[-2:]
    return F.pad(maps, (0, -width % CELL, 0, -height % CELL))


def pool_to_grid(scores: Tensor) -> Tensor:
    """Mean of each 8 x 8 pixels, 0 beyond the image's right and lower border.

    (C, H, W), or (N, C, H, W), → (…, ⌈H/8⌉, ⌈W/8⌉).
    """
    return F.avg_pool2d(pad_to_cells(scores), CELL)


def grid_to_pixels(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Undo `pool_to_grid` bilinearly (half-pixel centres): (C, h, w) → (C, *size)."""
    pixels = F.interpolate(scores[None], scale_factor=CELL, mode="bilinear", align_corners=False)
    return pixels[0, :, : size[0], : size[1]]


def walk_scores(cams: Tensor, alpha: float = 16.0) -> Tensor:
    """Make the scores that PSA's walk starts from: CAMs and their background, on the grid.

    cams (K, H, W), or (N, K, H, W), in [0, 1] → (…, 1 + K, ⌈H/8⌉, ⌈W/8⌉).
    """
    return pool_to_grid(with_background(cams, alpha))


@torch.no_grad()
def random_walk(
    affinities: Tensor, scores: Tensor, *, beta: float = 8.0, steps: int = 256
) -> Tensor:
    """Let the scores of each class walk `steps` steps over the grid.

    With W the symmetric matrix of the affinities of all cells, 1 on its diagonal and 0 between
    cells that are no pair, a step is s ← s·T for each class' row vector s of scores, where
    T = W^β·D⁻¹, the power taken of each element and D the diagonal of the sums of W^β's columns:

        s'_j = Σ_i s_i·W_ij^β / Σ_i W_ij^β,

    so every cell takes the mean of the scores around it, weighted by affinity. W is never formed: a
    step adds up the grid shifted to each partner, and 256 of them cost far less than squaring T.

    Args:
        affinities: (…, P, h, w) in [0, 1]; [p, y, x] is the affinity of cell (y, x) and the cell
            `pair_offsets()[p]` further. Where that lies outside the grid it is not read. (PSA has
            no pairs whose first cell is in the last 4 rows, or 4 columns at a side: 0 there.)
        scores: (…, C, h, w), floating point, the affinities' leading dimensions.
        beta: sharpens the affinities; PSA's value is 8.
        steps: at least 0; PSA squares T 8 times, which is 256.

    Returns:
        (…, C, h, w), of the scores' type; no gradient. Source: PSA, revising CAMs.

    Raises:
        ValueError: if there are not P affinities a cell, the grids differ or `steps` is negative.

    """
    offsets = pair_offsets()
    *_, pairs, height, width = affinities.shape
    if pairs != len(offsets):
        raise ValueError(f"affinities must have {len(offsets)} pairs a cell, not {pairs}")
    if scores.shape[-2:] != (height, width):
        raise ValueError(f"scores are {tuple(scores.shape[-2:])}, not {(height, width)}")
    if steps < 0:
        raise ValueError(f"steps must be at least 0, not {steps}")
    # On the flattened grid every offset is one shift; what wraps around a row's end weighs 0.
    shifts = [rows * width + columns for rows, columns in offsets]
    weights = _transition(affinities.to(scores), shifts, beta)
    shifts = [0, *shifts, *(-shift for shift in shifts)]
    margin = max(shifts)
    flat = F.pad(scores.flatten(-2), (margin, margin))
    views = [
        [buffer.narrow(-1, margin + shift, height * width) for shift in shifts]
        for buffer in (flat, torch.zeros_like(flat))
    ]
    for step in range(steps):
        source, target = views[step % 2], views[1 - step % 2][0]
        torch.mul(weights[0], source[0], out=target)
        for weight, partner in zip(weights[1:], source[1:], strict=True):
            target.addcmul_(weight, partner)
    return views[steps % 2][0].reshape(scores.shape)


def _transition(affinities: Tensor, shifts: list[int], beta: float) -> tuple[Tensor, ...]:
    """Weights (…, 1, h·w) of the cell itself, of its partners, and of the cells it is partner to.

    They sum to 1 in every cell.
    """
    inside = _has_partner(*affinities.shape[-2:]).to(affinities.device)
    forth = (affinities**beta).masked_fill(~inside, 0).flatten(-2).unbind(-2)
    # A cell before finds the affinity at itself; what rolls over the ends has no partner: 0.
    back = [weight.roll(shift, -1) for weight, shift in zip(forth, shifts, strict=True)]
    weights = torch.stack([torch.ones_like(forth[0]), *forth, *back])
    return (weights / weights.sum(dim=0)).unsqueeze(-2).unbind()


def _has_partner(height: int, width: int) -> Tensor:
    """Whether each cell has each of its partners: bool (P, h, w)."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    inside = [
        (rows + down < height) & (columns + right >= 0) & (columns + right < width)
        for down, right in pair_offsets()
    ]
    return torch.stack(inside)
