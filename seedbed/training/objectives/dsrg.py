"""The objective of deep seeded region growing (DSRG)."""

import sys
from typing import Literal

import torch
from torch import Tensor, nn

from seedbed.crf import DenseCRFGrid
from seedbed.crf.parameters import CRFParameters
from seedbed.methods.dsrg.growing import grow_seeds
from seedbed.methods.dsrg.losses import balanced_seed_loss, constraint_loss, smooth_softmax
from seedbed.methods.resampling import resize
from seedbed.runtime.choices import check_choice
from seedbed.training.objectives.objective import Objective
from seedbed.training.samples import Batch

GrowOn = Literal["crf", "softmax"]
TrainUnary = Literal["prob", "logprob"]

FLOOR = 1e-4  # lowest probability before a logarithm is taken (SEC, DSRG)
PUBLISHED_CLASSES = 21  # that DSRG's CRF weights are for: those of VOC, with background


def warn_seed_flooding(crf: CRFParameters, classes: int) -> None:
    """Print a warning if the CRF on −p decides where the network does not: seeds flood the image.

    Where C classes are equally probable, a mean-field iteration multiplies a small difference
    between them by (w₁ + w₂) / C, with the weights of the two kernels. Above 1 the CRF is soon
    certain of one class, whatever the network says. With DSRG's 3 + 10 this is so below 13 classes.
    """
    gaussian, bilateral = crf.gaussian_weight, crf.bilateral_weight
    if gaussian + bilateral > classes:
        share = classes / PUBLISHED_CLASSES
        print(
            f"dsrg.crf: with weights of {gaussian:g} and {bilateral:g} and {classes} classes,"
            " background included, the CRF is certain before the network is, and seeds flood the"
            f" images; if the weights are those for VOC's {PUBLISHED_CLASSES} classes, set"
            f" gaussian_weight: {gaussian * share:.3g}, bilateral_weight: {bilateral * share:.3g}",
            file=sys.stderr,
            flush=True,
        )


class SeedGrowingObjective(Objective):
    """Balanced seed loss and constraint loss of seeds that grow (Huang et al., CVPR 2018).

    The batch's targets are the cues, bool (N, C, h, w) on the network's grid. In every iteration
    the seeds grow anew from them. One dense CRF, whose sigmas are in cells of that grid, serves
    both the growing and the constraint.

    The CRF's image has its channels in the order blue, green, red, as in both programs: the CRF's
    lattice depends on the order (see `dense_crf`), and so do the cells that pass the thresholds.

    Args:
        crf: the CRF on the grid.
        grow_on: seeds grow on the posterior of the "crf" (Caffe) or on the "softmax" (TF port).
        train_unary: the CRF's unary energy, "prob": −p (Caffe), or "logprob": −log p (SEC, TF
            port).
        foreground_threshold: see `grow_seeds`.
        background_threshold: see `grow_seeds`.
        prefill_seeds: see `grow_seeds`.
        crf_image: how the CRF's image is resized to the grid, a method of
            `seedbed.methods.resampling.resize`; levels are rounded, but truncated after
            "tf_legacy" (TF port).
        crf_gradient: see `constraint_loss`.
        constraint_clip: `clip` of `constraint_loss`.
        constraint_weight: factor of the constraint loss.

    Raises:
        ValueError: if `grow_on` or `train_unary` is none of these.

    """

    def __init__(
        self,
        crf: DenseCRFGrid,
        *,
        grow_on: GrowOn,
        train_unary: TrainUnary,
        foreground_threshold: float,
        background_threshold: float,
        prefill_seeds: bool,
        crf_image: str,
        crf_gradient: str,
        constraint_clip: tuple[float, float] | None,
        constraint_weight: float,
    ) -> None:
        check_choice("grow_on", grow_on, GrowOn)
        check_choice("train_unary", train_unary, TrainUnary)
        self.crf = crf
        self.grow_on = grow_on
        self.train_unary = train_unary
        self.growing = {
            "foreground_threshold": foreground_threshold,
            "background_threshold": background_threshold,
            "prefill_seeds": prefill_seeds,
        }
        self.crf_image = crf_image
        self.constraint = {"clip": constraint_clip, "crf_gradient": crf_gradient}
        self.constraint_weight = constraint_weight

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """The loss, its two parts, and the shares of cells with a cue and with a grown seed."""
        logits = model(model.preprocess(batch.images)).float()
        probs = smooth_softmax(logits, FLOOR)
        # The TF port takes the logarithm of the softmax without the floor.
        unary = -probs if self.train_unary == "prob" else -logits.log_softmax(1)
        refined = self._refine(batch.images, unary.detach())
        confidence = refined if self.grow_on == "crf" else probs.detach()
        grown = grow_seeds(batch.targets, confidence, batch.tags, **self.growing)
        seed = balanced_seed_loss(probs, grown)
        constraint = constraint_loss(probs, refined, **self.constraint)
        return {
            "loss": seed + self.constraint_weight * constraint,
            "seed_loss": seed,
            "constraint_loss": constraint,
            "cues": batch.targets.any(1).float().mean(),
            "grown": grown.any(1).float().mean(),
        }

    def _refine(self, images: Tensor, unary: Tensor) -> Tensor:
        """The CRF's posterior on the grid, at least FLOOR and renormalised; without a gradient."""
        small = resize(images, unary.shape[-2:], self.crf_image)
        levels = small.floor() if self.crf_image == "tf_legacy" else small.round()
        bgr = levels.clamp(0, 255).to(torch.uint8).flip(1)
        refined = self.crf(bgr, unary).clamp(min=FLOOR)
        return refined / refined.sum(1, keepdim=True)
