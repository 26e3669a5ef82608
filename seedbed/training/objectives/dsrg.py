"""What a training on seeds minimises, the seeds growing with the network."""

import torch
from torch import Tensor, nn

from seedbed.crf import DenseCRFGrid
from seedbed.methods.dsrg.growing import grow_seeds
from seedbed.methods.dsrg.losses import balanced_seed_loss, constraint_loss, smooth_softmax
from seedbed.methods.resampling import resize
from seedbed.training.objectives.supervision import Stateless
from seedbed.training.samples import Batch

FLOOR = 1e-4  # of a posterior that a logarithm is taken of (SEC, DSRG)


class SeedGrowingObjective(Stateless):
    """Deep seeded region growing with balanced seed and constraint loss (Huang et al. 2018).

    The seeds grow anew from the cues in every step; the CRF, whose sigmas are in cells of the
    network's grid, serves both the growth and the constraint. crf_image: how the image comes to
    that grid, as in `resampling.resize`; levels are rounded, but after "tf_legacy", as the
    TensorFlow port does, truncated.
    """

    def __init__(
        self,
        crf: DenseCRFGrid,
        *,
        grow_on: str,
        train_unary: str,
        foreground_threshold: float,
        background_threshold: float,
        prefill_seeds: bool,
        crf_image: str,
        crf_gradient: str,
        constraint_clip: tuple[float, float] | None,
        constraint_weight: float,
    ) -> None:
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
        """Figures of one step: loss, its two parts, and the share of cells with a seed."""
        logits = model(model.preprocess(batch.images)).float()
        probs = smooth_softmax(logits, FLOOR)
        # The port takes the logarithm of the softmax itself, which the floor does not stop.
        unary = -probs if self.train_unary == "prob" else -logits.log_softmax(1)
        refined = self._refine(batch.images, unary.detach())
        certain = refined if self.grow_on == "crf" else probs.detach()
        grown = grow_seeds(batch.cues, certain, batch.tags, **self.growing)
        seed = balanced_seed_loss(probs, grown)
        constraint = constraint_loss(probs, refined, **self.constraint)
        return {
            "loss": seed + self.constraint_weight * constraint,
            "seed_loss": seed,
            "constraint_loss": constraint,
            "cues": batch.cues.any(1).float().mean(),
            "grown": grown.any(1).float().mean(),
        }

    def _refine(self, images: Tensor, unary: Tensor) -> Tensor:
        """Posterior of the CRF on the grid, floored and renormalised; no gradient."""
        small = resize(images, unary.shape[-2:], self.crf_image)
        levels = small.floor() if self.crf_image == "tf_legacy" else small.round()
        refined = self.crf(levels.clamp(0, 255).to(torch.uint8), unary).clamp(min=FLOOR)
        return refined / refined.sum(1, keepdim=True)
