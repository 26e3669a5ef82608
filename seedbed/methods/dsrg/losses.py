"""DSRG's losses: the balanced seed loss and the constraint loss (Huang et al., CVPR 2018)."""

import math
from typing import Any, Literal

import torch
from torch import Tensor


def smooth_softmax(logits: Tensor, floor: float = 1e-4) -> Tensor:
    """Softmax over the classes of (N, C, …), lifted by `floor` and normalised again: never 0."""
    lifted = logits.softmax(dim=1) + floor
    return lifted / lifted.sum(dim=1, keepdim=True)


def balanced_seed_loss(probs: Tensor, seeds: Tensor) -> Tensor:
    """Cross entropy at the seeds, foreground and background each averaged by themselves.

    probs (N, C, H, W) in (0, 1], seeds (N, C, H, W), non-zero = seed → scalar: the mean over the
    images of the mean −log p over background seeds plus that over foreground seeds; a part
    without seeds is 0. Source: Huang et al., CVPR 2018, eq. 2.
    """
    seeds = (seeds != 0).to(probs.dtype)
    log_likelihood = (seeds * probs.log()).sum(dim=(2, 3))
    count = seeds.sum(dim=(2, 3))
    background = log_likelihood[:, 0] / count[:, 0].clamp(min=1e-4)
    foreground = log_likelihood[:, 1:].sum(1) / count[:, 1:].sum(1).clamp(min=1e-4)
    return -(background + foreground).mean()


def constraint_loss(
    probs: Tensor,
    refined: Tensor,
    *,
    clip: tuple[float, float] | None = (0.05, 20.0),
    crf_gradient: Literal["one_minus_q", "none"] = "one_minus_q",
) -> Tensor:
    """Pull the probabilities p to what the CRF made of them, q: mean over cells of KL(q ‖ p).

    Args:
        probs: p, (N, C, H, W) in (0, 1].
        refined: q, (N, C, H, W) in [0, 1]; nothing is differentiated through it.
        clip: bounds of q / p; beyond them a cell gives no gradient (DSRG's Caffe code). None is
            Σ q·log(q / (p + 1e-8) + 1e-8) without bounds (its TensorFlow port).
        crf_gradient: "one_minus_q" lets ∂L/∂log q reach p through the CRF, times (1 − q), as
            DSRG's Caffe code does; "none" does not, as SEC and the port.

    Returns:
        Scalar. Source: Kolesnikov & Lampert, ECCV 2016, sec. 3.3; Huang et al., CVPR 2018.

    Raises:
        ValueError: if `crf_gradient` is neither of the two.

    """
    if crf_gradient == "one_minus_q":
        log_refined = _RefinedLog.apply(probs, refined)
    elif crf_gradient == "none":
        log_refined = refined.detach().log()
    else:
        raise ValueError(f"crf_gradient must be 'one_minus_q' or 'none', not {crf_gradient!r}")
    refined = log_refined.exp()
    if clip is None:
        log_ratio = (refined / (probs + 1e-8) + 1e-8).log()
    else:
        log_ratio = (log_refined - probs.log()).clamp(math.log(clip[0]), math.log(clip[1]))
    return (refined * log_ratio).sum(dim=1).mean()


class _RefinedLog(torch.autograd.Function):
    """log q, whose gradient goes to p times (1 − q), as if q were the softmax of log p."""

    @staticmethod
    def forward(ctx: Any, probs: Tensor, refined: Tensor) -> Tensor:  # noqa: ANN401
        """Return log q; p is only where the gradient goes."""
        ctx.save_for_backward(refined)
        return refined.log()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        """∂L/∂log q → (1 − q)·∂L/∂log q at p."""
        (refined,) = ctx.saved_tensors
        return (1 - refined) * gradient, None
