"""The objective of AffinityNet (PSA)."""

from torch import Tensor, nn

from seedbed.methods.psa.labels import pair_labels
from seedbed.methods.psa.loss import affinity_losses
from seedbed.training.objectives.objective import Objective
from seedbed.training.samples import Batch


class AffinityObjective(Objective):
    """Cross entropy of pixel affinities against pairs of labels (Ahn & Kwak, CVPR 2018: PSA).

    The batch's targets are the labels of the network's cells: uint8 (N, h, w), 0 = background,
    from 1 on the image's own classes in order, 255 = void.
    """

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """The loss, the three parts that it is the sum of, and the share of each kind of pairs.

        The shares add up to less than 1: the other pairs have a void end.
        """
        pairs = pair_labels(batch.targets)
        affinities = model(model.preprocess(batch.images))
        losses = affinity_losses(affinities, *pairs)
        parts = {f"{kind}_loss": loss for kind, loss in losses._asdict().items()}
        shares = {f"{kind}_pairs": mask.float().mean() for kind, mask in pairs._asdict().items()}
        return {"loss": losses.total, **parts, **shares}
