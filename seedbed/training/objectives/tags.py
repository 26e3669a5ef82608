"""The objective of a classifier on image-level labels."""

from torch import Tensor, nn

from seedbed.methods.losses import classification_loss
from seedbed.training.objectives.objective import Objective
from seedbed.training.samples import Batch


class TagObjective(Objective):
    """Multi-label soft margin loss of a classifier against the image-level labels."""

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """The loss."""
        scores = model(model.preprocess(batch.images))
        return {"loss": classification_loss(scores.float(), batch.tags[:, 1:])}
