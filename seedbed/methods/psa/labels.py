"""Labels for AffinityNet: which pairs of cells are certainly of one class, which of two.

Ahn & Kwak, CVPR 2018 (PSA); voc12/data.py of the authors' code.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from seedbed.formats.palette import VOID
from seedbed.methods.psa.pairs import inner_cells, pair_offsets
from seedbed.methods.psa.walk import pool_to_grid


class PairLabels(NamedTuple):
    """Masks of the three kinds of pairs, bool (…, 34, sources); pairs with void are in none."""

    background: Tensor
    foreground: Tensor
    negative: Tensor


def grid_labels(low: Tensor, high: Tensor) -> Tensor:
    """Label the grid cells on which the scores of low and of high alpha agree.

    A cell is foreground where a class wins against the strong background of the low alpha (PSA: 4),
    background where background wins with the high alpha (PSA: 32), and void otherwise. Scores are
    averaged over each cell of 8 x 8 pixels first.

    Args:
        low: (…, 1 + K, H, W) in [0, 1], background first: scores of the low alpha (in PSA, after a
            dense CRF). Pixels at which all scores, here and in `high`, are 0 are outside the image.
        high: scores of the high alpha, same shape and classes.

    Returns:
        (…, ⌈H/8⌉, ⌈W/8⌉) uint8 channel numbers, 0 = background, 255 = void. Ties go to the lowest
        channel.

    Raises:
        ValueError: if the shapes differ.

    """
    if low.shape != high.shape:
        raise ValueError(f"high is {tuple(high.shape)}, but low is {tuple(low.shape)}")
    low, high = pool_to_grid(low), pool_to_grid(high)
    labels = low.argmax(dim=-3).to(torch.uint8)
    labels[labels == 0] = VOID
    labels[high.argmax(dim=-3) == 0] = 0
    labels[torch.maximum(low, high).amax(dim=-3) < 1e-5] = VOID
    return labels


def pair_labels(labels: Tensor) -> PairLabels:
    """Classify the pairs of cells that are both labelled.

    Args:
        labels: (…, h, w) integer, 0 = background, 255 = void.

    Returns:
        Masks (…, 34, sources): pairs in the order of `pair_offsets()`, source cells in row-major
        order. Source cells are those with all partners inside the grid, so without the last 4 rows
        and 4 columns at each side: (h − 4)·(w − 8).

    Raises:
        ValueError: if the grid is too small for one source cell.

    """
    source = inner_cells(labels).flatten(-2).unsqueeze(-2)
    if source.shape[-1] == 0:
        raise ValueError(f"labels must be larger than 4 x 8 cells, not {tuple(labels.shape[-2:])}")
    partners = [inner_cells(labels, offset).flatten(-2) for offset in pair_offsets()]
    partner = torch.stack(partners, dim=-2)
    known = (source != VOID) & (partner != VOID)
    same = known & (source == partner)
    return PairLabels(same & (source == 0), same & (source != 0), known & ~same)
