"""The plain losses: masks with void, and image-level labels."""

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

VOID = 255


def masked_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross entropy over the cells with a label; 0, with zero gradients, if there is none.

    logits (N, C, H, W), target (N, H, W) integer, class ids and 255 = void → scalar.
    """
    target = target.long()
    # Cells are summed here because the built-in sum over a map is not reproducible on CUDA.
    per_cell = F.cross_entropy(logits, target, ignore_index=VOID, reduction="none")
    return per_cell.sum() / (target != VOID).sum().clamp(min=1)


def classification_loss(
    scores: Tensor, tags: Tensor, kind: Literal["soft_margin"] = "soft_margin"
) -> Tensor:
    """Multi-label loss of scores (N, K), logits, against tags (N, K), 0 or 1 → scalar.

    "soft_margin" is the logistic loss of every class, mean over classes and images.

    Raises:
        ValueError: if `kind` is unknown.

    """
    if kind != "soft_margin":
        raise ValueError(f"kind must be 'soft_margin', not {kind!r}")
    return F.multilabel_soft_margin_loss(scores, tags.to(scores.dtype))
