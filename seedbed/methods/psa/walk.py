"""PSA's random walk: class scores propagate to cells of high affinity.

Ahn & Kwak, "Learning Pixel-level Semantic Affinity", CVPR 2018; infer_aff.py of the authors' code.
A grid cell is 8 x 8 pixels.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from seedbed.methods.psa.pairs import inner_cells, pair_offsets
from seedbed.methods.resampling import resize

CELL = 8  # pixels


def with_background(cams: Tensor, alpha: float) -> Tensor:
    """Prepend the background score (1 − max over classes) ** alpha to the CAMs.

    Args:
        cams: (…, K, H, W) in [0, 1], K ≥ 1.
        alpha: the larger, the lower the background score. PSA: 16 for the walk, 4 and 32 for
            AffinityNet's labels.

    Returns:
        (…, 1 + K, H, W) in [0, 1].

    """
    background = (1 - cams.amax(dim=-3, keepdim=True)) ** alpha
    return torch.cat([background, cams], dim=-3)


def pad_to_cells(maps: Tensor) -> Tensor:
    """Zero-pad right and below to whole cells: (…, H, W) → (…, 8·⌈H/8⌉, 8·⌈W/8⌉)."""
    height, width = maps.shape[-2:]
    return F.pad(maps, (0, -width % CELL, 0, -height % CELL))


def has_inner_cells(size: tuple[int, int]) -> bool:
    """Whether an image of (H, W) pixels has `inner_cells`.

    Without one, PSA's walk, whose links all begin in these cells, changes nothing.
    """
    rows, columns = (math.ceil(side / CELL) for side in size)
    return inner_cells(torch.empty(rows, columns, device="meta")).numel() > 0


def pool_to_grid(scores: Tensor) -> Tensor:
    """Average over each cell, zero-padded: (C, H, W) or (N, C, H, W) → (…, ⌈H/8⌉, ⌈W/8⌉)."""
    return F.avg_pool2d(pad_to_cells(scores), CELL)


def grid_to_pixels(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Upsample grid scores bilinearly and crop the padding: (C, h, w) → (C, *size)."""
    height, width = scores.shape[-2:]
    pixels = resize(scores[None], (CELL * height, CELL * width), "half_pixel")
    return pixels[0, :, : size[0], : size[1]]


def walk_scores(cams: Tensor, alpha: float) -> Tensor:
    """Scores at the start of PSA's walk: CAMs and background, averaged over each cell.

    Args:
        cams: (K, H, W) or (N, K, H, W) in [0, 1].
        alpha: as in `with_background`.

    Returns:
        (…, 1 + K, ⌈H/8⌉, ⌈W/8⌉) in [0, 1].

    """
    return pool_to_grid(with_background(cams, alpha))


@torch.no_grad()
def random_walk(affinities: Tensor, scores: Tensor, *, beta: float, steps: int) -> Tensor:
    """Propagate class scores over the grid by a random walk.

    W is the symmetric affinity matrix of all cells, with 1 on its diagonal and 0 between cells that
    are not a pair. For the row vector s of a class's scores, one step is s ← s·T with
    T = W^β·D⁻¹, where the power is element-wise and D is the diagonal of the column sums of W^β:

        s'_j = Σ_i s_i·W_ij^β / Σ_i W_ij^β,

    the affinity-weighted mean over the neighbourhood of each cell. W is never formed: a step adds
    shifted copies of the grid, and 256 such steps cost far less than squaring T.

    Args:
        affinities: (…, P, h, w) in [0, 1]; [p, y, x] is the affinity of cell (y, x) and the cell at
            offset `pair_offsets()[p]` from it. Values for partners outside the grid are ignored.
            (PSA has no pairs whose first cell is in the last 4 rows or in 4 columns at a side: 0.)
        scores: (…, C, h, w) floating, same leading dimensions.
        beta: exponent of the affinities. PSA: 8.
        steps: number of steps, at least 0. PSA squares T 8 times: 256.

    Returns:
        (…, C, h, w), dtype of `scores`, without gradient.

    Raises:
        ValueError: if there are not P affinities per cell, the leading dimensions or the grids
            differ, or `steps` is negative.

    """
    _check_walk(affinities, scores, steps)
    # In the flattened grid each offset is one shift; weights across row ends are 0.
    shifts = [rows * scores.shape[-1] + columns for rows, columns in pair_offsets()]
    weights = _transition_weights(affinities.to(scores), shifts, beta)
    return _propagate(scores.flatten(-2), weights, shifts, steps).reshape(scores.shape)


def _propagate(
    scores: Tensor, weights: tuple[Tensor, ...], shifts: list[int], steps: int
) -> Tensor:
    """Take the steps on the flattened grid (…, C, h·w), in place in two zero-padded buffers."""
    shifts = [0, *shifts, *(-shift for shift in shifts)]
    margin = max(shifts)
    padded = F.pad(scores, (margin, margin))
    views = [
        [buffer.narrow(-1, margin + shift, scores.shape[-1]) for shift in shifts]
        for buffer in (padded, torch.zeros_like(padded))
    ]
    for step in range(steps):
        source, target = views[step % 2], views[1 - step % 2][0]
        torch.mul(weights[0], source[0], out=target)
        for weight, partner in zip(weights[1:], source[1:], strict=True):
            target.addcmul_(weight, partner)
    return views[steps % 2][0]


def _check_walk(affinities: Tensor, scores: Tensor, steps: int) -> None:
    *_, pairs, height, width = affinities.shape
    expected = len(pair_offsets())
    if pairs != expected:
        raise ValueError(f"affinities must have {expected} pairs a cell, not {pairs}")
    if affinities.shape[:-3] != scores.shape[:-3]:
        raise ValueError(
            "affinities and scores must have the same leading dimensions, not "
            f"{tuple(affinities.shape[:-3])} and {tuple(scores.shape[:-3])}"
        )
    if scores.shape[-2:] != (height, width):
        raise ValueError(f"scores are {tuple(scores.shape[-2:])}, not {(height, width)}")
    if steps < 0:
        raise ValueError(f"steps must be at least 0, not {steps}")


def _transition_weights(affinities: Tensor, shifts: list[int], beta: float) -> tuple[Tensor, ...]:
    """Columns of T as weights (…, 1, h·w): of the cell itself, its partners, and its sources.

    A cell's sources are the cells of which it is a partner. The weights of each cell sum to 1.
    """
    inside = _partner_inside(*affinities.shape[-2:], affinities.device)
    forward = (affinities**beta).masked_fill(~inside, 0).flatten(-2).unbind(-2)
    # The affinity with a source is stored at the source. What rolls over the ends is 0 by `inside`.
    backward = [weight.roll(shift, -1) for weight, shift in zip(forward, shifts, strict=True)]
    weights = torch.stack([torch.ones_like(forward[0]), *forward, *backward])
    return (weights / weights.sum(dim=0)).unsqueeze(-2).unbind()


def _partner_inside(height: int, width: int, device: torch.device) -> Tensor:
    """Whether each partner of each cell lies inside the grid: bool (P, h, w)."""
    rows = torch.arange(height, device=device)[:, None]
    columns = torch.arange(width, device=device)
    inside = [
        (rows + down < height) & (columns + right >= 0) & (columns + right < width)
        for down, right in pair_offsets()
    ]
    return torch.stack(inside)
