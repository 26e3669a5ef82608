"""The objective of a segmentation network on masks."""

from torch import Tensor, nn

from seedbed.methods.losses import masked_cross_entropy
from seedbed.methods.resampling import resize
from seedbed.training.objectives.objective import Objective
from seedbed.training.samples import Batch


class MaskObjective(Objective):
    """Cross entropy against masks, ignoring void.

    The batch's targets are masks, uint8 (N, h, w), 255 = void. The logits are resized to their
    grid.

    Args:
        resampling: a method of `seedbed.methods.resampling.resize`.

    """

    def __init__(self, resampling: str) -> None:
        self.resampling = resampling

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """The loss."""
        logits = model(model.preprocess(batch.images)).float()
        logits = resize(logits, batch.targets.shape[-2:], self.resampling)
        return {"loss": masked_cross_entropy(logits, batch.targets)}
