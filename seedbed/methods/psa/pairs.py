"""The pairs of grid cells whose affinity AffinityNet predicts, and that affinity.

Ahn & Kwak, "Learning Pixel-level Semantic Affinity", CVPR 2018 (PSA); network/resnet38_aff.py of
the authors' code.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

RADIUS = 5  # cells


def pair_offsets(radius: int = RADIUS) -> list[tuple[int, int]]:
    """Offsets (rows, columns) from a cell to its partners, each unordered pair once.

    The partners are the cells at a distance below `radius` in the half disc to the right and below,
    in PSA's order: same row first, then row by row. Radius 5 gives 34.
    """
    same_row = [(0, column) for column in range(1, radius)]
    below = [(row, column) for row in range(1, radius) for column in range(1 - radius, radius)]
    return same_row + [(r, c) for r, c in below if r * r + c * c < radius * radius]


def inner_cells(maps: Tensor, offset: tuple[int, int] = (0, 0), *, radius: int = RADIUS) -> Tensor:
    """The cells of (…, h, w) whose partners are all inside the grid, or their partners.

    PSA calls these the source cells: all without the last r = radius − 1 rows and r columns on both
    sides.

    Args:
        maps: (…, h, w).
        offset: one of `pair_offsets(radius)`, for the partners at this offset from those cells.
        radius: as in `pair_offsets`.

    Returns:
        A view (…, h − r, w − 2r); empty if the grid is smaller.

    """
    reach = radius - 1
    height, width = maps.shape[-2:]
    top, left = offset[0], offset[1] + reach
    bottom, right = top + max(height - reach, 0), left + max(width - 2 * reach, 0)
    return maps[..., top:bottom, left:right]


def pair_affinities(features: Tensor, radius: int = RADIUS) -> Tensor:
    """exp(-mean over channels of |f_i - f_j|) for every cell i and each of its partners j.

    Args:
        features: (N, C, h, w).
        radius: partners are less than this many cells apart, see `pair_offsets`.

    Returns:
        float32 (N, pairs, h, w) in [0, 1]: element [n, p, y, x] is the affinity of cell (y, x) and
        cell (y, x) + pair_offsets(radius)[p], 0 where the latter is outside the grid.

    """
    height, width = features.shape[2:]
    reach = radius - 1
    # In half precision log(1 - w), the loss of unlike pairs, would lose its small values.
    features = features.float()
    around = F.pad(features, (reach, reach, 0, reach), value=torch.inf)
    distances = []
    for row, column in pair_offsets(radius):
        left = reach + column
        partners = around[:, :, row : row + height, left : left + width]
        distances.append((features - partners).abs().mean(1))
    return torch.exp(-torch.stack(distances, dim=1))
