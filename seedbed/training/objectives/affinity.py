"""What AffinityNet's training minimises."""

import torch
from torch import Tensor, nn

from seedbed.methods.psa.labels import pair_labels
from seedbed.methods.psa.loss import affinity_loss
from seedbed.training.objectives.supervision import Stateless
from seedbed.training.samples import Batch


class AffinityObjective(Stateless):
    """Affinities of neighbouring cells against their labels (Ahn & Kwak, CVPR 2018: PSA).

    The batch's targets are the labels of the network's cells: uint8 (N, h, w), 0 = background,
    1.. the image's own classes, 255 = void.
    """

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Figures of one step: loss, its three parts, and the shares of the kinds of pairs.

        The parts add up to the loss; what a kind's share lacks to 1 in all is void.
        """
        pairs = pair_labels(batch.targets)
        affinities = model(model.preprocess(batch.images))
        none = torch.zeros_like(pairs.background)
        parts = {
            "background_loss": affinity_loss(affinities, pairs.background, none, none),
            "foreground_loss": affinity_loss(affinities, none, pairs.foreground, none),
            "negative_loss": affinity_loss(affinities, none, none, pairs.negative),
        }
        shares = {f"{kind}_pairs": mask.float().mean() for kind, mask in pairs._asdict().items()}
        return {"loss": sum(parts.values()), **parts, **shares}
