"""AffinityNet's loss (Ahn & Kwak, CVPR 2018: PSA)."""

from torch import Tensor


def affinity_loss(
    affinities: Tensor, background_pairs: Tensor, foreground_pairs: Tensor, negative_pairs: Tensor
) -> Tensor:
    """Cross entropy of pixel affinities: pairs of one class are to be 1, of two classes 0.

    Each kind of pair is averaged by itself over the whole batch, then background, foreground and
    negative pairs weigh 1/4, 1/4 and 1/2; a kind without pairs is 0.

    Args:
        affinities: (N, P, S) in [0, 1].
        background_pairs: (N, P, S), bool or 0 and 1: the pairs that are both background.
        foreground_pairs: the same, of the pairs of one foreground class.
        negative_pairs: the same, of the pairs of different classes.

    Returns:
        Scalar. Source: Ahn & Kwak, CVPR 2018 (PSA); a quarter of the paper's sum, as in its code.

    """
    alike, different = -(affinities + 1e-5).log(), -(1 + 1e-5 - affinities).log()
    positive = _mean_where(alike, background_pairs) + _mean_where(alike, foreground_pairs)
    return positive / 4 + _mean_where(different, negative_pairs) / 2


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask is 1; 0 where it never is."""
    mask = mask.to(values.dtype)
    return (values * mask).sum() / (mask.sum() + 1e-5)
