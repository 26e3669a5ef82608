"""What AffinityNet learns from: which cells of an image surely are of one class, or of two.

Source: Ahn & Kwak, CVPR 2018 (PSA).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from seedbed.methods.psa.pairs import RADIUS, pair_offsets
from seedbed.methods.psa.walk import pool_to_grid

VOID = 255


class PairLabels(NamedTuple):
    """Three kinds of pairs, bool (…, 34, sources) each; a pair with a void end is of none."""

    background: Tensor
    foreground: Tensor
    negative: Tensor


def grid_labels(low: Tensor, high: Tensor) -> Tensor:
    """Label each cell of 8 x 8 pixels by the classes on which a strict and a lax score agree.

    A cell is foreground where it wins against much background (PSA's alpha 4), background where it
    wins against little (alpha 32), and void between. The scores are averaged before they compete.

    Args:
        low: (…, 1 + K, H, W) in [0, 1], background first: scores of the low alpha, which PSA
            refines with a dense CRF. 0 in all channels, here and in `high`, is beyond the image.
        high: the same of the high alpha, the classes in the same order.

    Returns:
        (…, ⌈H/8⌉, ⌈W/8⌉) uint8: channel numbers, 0 = background, and 255 = void; of equal scores
        the lowest channel wins.

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
    """Compare each cell with its partners, both ends labelled: alike or different.

    labels (…, h, w), integer, 255 = void → masks (…, 34, sources), pairs in the order of
    `pair_offsets()`, their first cells row by row. Those are the cells that have all partners: not
    the last 4 rows, nor 4 columns at either side, so (h − 4)·(w − 8) sources.

    Raises:
        ValueError: if the grid is too small to have any.

    """
    margin = RADIUS - 1
    height, width = labels.shape[-2] - margin, labels.shape[-1] - 2 * margin
    if height < 1 or width < 1:
        raise ValueError(f"labels must be larger than 4 x 8 cells, not {tuple(labels.shape[-2:])}")

    def window(down: int, right: int) -> Tensor:
        right += margin
        return labels[..., down : down + height, right : right + width].flatten(-2)

    partner = torch.stack([window(*offset) for offset in pair_offsets()], dim=-2)
    source = window(0, 0).unsqueeze(-2)
    known = (source != VOID) & (partner != VOID)
    alike = known & (source == partner)
    return PairLabels(alike & (source == 0), alike & (source != 0), known & ~alike)
