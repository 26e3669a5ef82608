"""AffinityNet's loss (Ahn & Kwak, CVPR 2018: PSA; train_aff.py of the authors' code)."""

from typing import NamedTuple

from torch import Tensor


class AffinityLosses(NamedTuple):
    """Scalar losses of the three kinds of pairs, already weighted by 1/4, 1/4 and 1/2."""

    background: Tensor
    foreground: Tensor
    negative: Tensor

    @property
    def total(self) -> Tensor:
        """The loss: a quarter of the paper's sum, as in the authors' code."""
        return self.background + self.foreground + self.negative


def affinity_losses(
    affinities: Tensor, background_pairs: Tensor, foreground_pairs: Tensor, negative_pairs: Tensor
) -> AffinityLosses:
    """Cross entropy of affinities: target 1 for pairs of one class, 0 for pairs of two classes.

    Each kind of pair is averaged over the whole batch. The loss of a kind without pairs is 0.

    Args:
        affinities: (N, P, S) in [0, 1].
        background_pairs: (N, P, S) bool or 0/1, pairs of two background cells.
        foreground_pairs: the same for pairs of one foreground class.
        negative_pairs: the same for pairs of different classes.

    """
    positive_loss = -(affinities + 1e-5).log()
    negative_loss = -(1 + 1e-5 - affinities).log()
    return AffinityLosses(
        _masked_mean(positive_loss, background_pairs) / 4,
        _masked_mean(positive_loss, foreground_pairs) / 4,
        _masked_mean(negative_loss, negative_pairs) / 2,
    )


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask is 1; 0 for an empty mask."""
    mask = mask.to(values.dtype)
    return (values * mask).sum() / (mask.sum() + 1e-5)
