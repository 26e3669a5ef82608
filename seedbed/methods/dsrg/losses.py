"""DSRG's losses: balanced seed loss and constraint loss.

Huang et al., CVPR 2018, with the details of pylayers.py of the authors' code. The constraint loss
is that of SEC (Kolesnikov & Lampert, ECCV 2016, section 3.3).
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor


def smooth_softmax(logits: Tensor, floor: float = 1e-4) -> Tensor:
    """Softmax over the classes, plus `floor`, renormalised: (N, C, …) → (N, C, …) in (0, 1).

    Source: SoftmaxLayer of pylayers.py, floor 1e-4.
    """
    raised = logits.softmax(dim=1) + floor
    return raised / raised.sum(dim=1, keepdim=True)


def balanced_seed_loss(probs: Tensor, seeds: Tensor) -> Tensor:
    """Cross entropy at the seeds, averaged separately over background and foreground seeds.

    Args:
        probs: (N, C, H, W) in (0, 1].
        seeds: (N, C, H, W), non-zero where a class has a seed.

    Returns:
        Scalar: per image the mean −log p over its background seeds plus the mean over its
        foreground seeds (0 where there are none), averaged over the batch. Source: Huang et al.,
        CVPR 2018, equation 2.

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
    clip: tuple[float, float] | None,
    crf_gradient: Literal["one_minus_q", "none"],
) -> Tensor:
    """Kullback-Leibler divergence KL(q ‖ p) of the network's p from the CRF's q, mean over cells.

    Args:
        probs: p, (N, C, H, W) in (0, 1].
        refined: q, the CRF's output for p, (N, C, H, W) in [0, 1]; treated as a constant.
        clip: bounds of q / p, outside of which the gradient is 0. DSRG's Caffe code: (0.05, 20).
            None computes Σ q·log(q / (p + 1e-8) + 1e-8), as its TensorFlow port.
        crf_gradient: gradient through the CRF: "one_minus_q" adds (1 − q)·∂L/∂log q to the
            gradient of p, as DSRG's Caffe code; "none" adds nothing, as SEC and the TensorFlow
            port.

    Returns:
        Scalar. Source: Kolesnikov & Lampert, ECCV 2016, section 3.3; Huang et al., CVPR 2018.

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
    """log q whose gradient, times (1 − q), is passed to p: CRFLayer.backward of pylayers.py."""

    @staticmethod
    def forward(ctx: Any, probs: Tensor, refined: Tensor) -> Tensor:  # noqa: ANN401
        """Return log q; `probs` only receives the gradient."""
        ctx.save_for_backward(refined)
        return refined.log()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        """Return (1 − q)·∂L/∂log q as the gradient of p."""
        (refined,) = ctx.saved_tensors
        return (1 - refined) * gradient, None
