"""Losses shared by the systems: segmentation masks with void, and image-level labels."""

import torch.nn.functional as F
from torch import Tensor

from seedbed.formats.palette import VOID


def masked_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross entropy over the labelled pixels; 0, with zero gradients, if there are none.

    Args:
        logits: (N, C, H, W).
        target: (N, H, W) integer class ids, 255 = void.

    Returns:
        Scalar.

    """
    target = target.long()
    # reduction="none" and an own sum, because the built-in 2-D reduction is not deterministic on
    # CUDA.
    per_pixel = F.cross_entropy(logits, target, ignore_index=VOID, reduction="none")
    return per_pixel.sum() / (target != VOID).sum().clamp(min=1)


def classification_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Multi-label soft margin loss: logistic loss averaged over classes and images.

    Args:
        scores: (N, K) logits.
        labels: (N, K), 0 or 1.

    Returns:
        Scalar. Source: PSA (train_cls.py) and Group-WSSS (train.py).

    """
    return F.multilabel_soft_margin_loss(scores, labels.to(scores.dtype))
