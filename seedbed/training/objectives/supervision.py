"""What trainings on given labels minimise: tags, masks, or groups of tags."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seedbed.methods.losses import classification_loss, masked_cross_entropy
from seedbed.methods.resampling import resize
from seedbed.training.samples import Batch


class Stateless:
    """An objective that remembers nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to take up."""


class TagObjective(Stateless):
    """Multi-label soft margin loss of a classifier against the tags."""

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Figures of one step: the loss."""
        scores = model(model.preprocess(batch.images))
        return {"loss": classification_loss(scores.float(), batch.tags[:, 1:])}


class MaskObjective(Stateless):
    """Cross entropy against masks, void ignored, logits brought to the masks' grid.

    resampling: where the cells of that grid lie, as in `seedbed.methods.resampling.resize`.
    """

    def __init__(self, resampling: str = "half_pixel") -> None:
        self.resampling = resampling

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Figures of one step: the loss."""
        logits = model(model.preprocess(batch.images)).float()
        logits = resize(logits, batch.targets.shape[-2:], self.resampling)
        return {"loss": masked_cross_entropy(logits, batch.targets.long())}


class GroupObjective:
    """Tags before and after the co-attention graph; keeps the best maps seen while training.

    The maps of the first image of each group are kept by maximum, (rows, h, w) uint8 of each
    map's own maximum, a row for each pair of image and tag (Li et al., AAAI 2021; the original
    keeps them in PNG files). labels: class ids of each image of the data set.
    """

    def __init__(
        self,
        labels: Sequence[tuple[int, ...]],
        num_classes: int,
        grid: tuple[int, int],
        *,
        group_size: int,
        before_weight: float,
        from_step: int,
        last_epoch_from: int,
        least_score: float,
    ) -> None:
        self.group_size = group_size
        self.before_weight = before_weight
        self.from_step = from_step
        self.last_epoch_from = last_epoch_from
        self.least_score = least_score
        tagged = torch.zeros(len(labels), num_classes, dtype=torch.bool)
        for i, classes in enumerate(labels):
            tagged[i, list(classes)] = True
        self.rows = tagged.flatten().cumsum(0).view_as(tagged) - 1
        self.kept = torch.zeros(int(tagged.sum()), *grid, dtype=torch.uint8)
        self.seen = torch.zeros(len(self.kept), dtype=torch.bool)
        self.found: list[tuple[list[Tensor], bool]] = []

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Figures of one step: loss and its parts before and after the graph."""
        images = model.preprocess(batch.images)
        output = model(images.unflatten(0, (-1, self.group_size)))
        tags = batch.tags[:, 1:]
        before = classification_loss(output.scores_before.float().flatten(0, 1), tags)
        after = classification_loss(output.scores_after.float().flatten(0, 1), tags)
        if step >= self.from_step:
            first = slice(None, None, self.group_size)
            seen = [
                output.maps[:, 0].detach().float(),
                output.scores_after[:, 0].detach().float(),
                tags[first] > 0,
                batch.index[first],
                batch.mirrored[first],
            ]
            self.found.append(([tensor.cpu() for tensor in seen], step >= self.last_epoch_from))
        loss = (self.before_weight * before + after) / 2
        return {"loss": loss, "before_loss": before, "after_loss": after}

    def keep(self, found: list[tuple[list[Tensor], bool]]) -> None:
        """Take up what the parts of a step found, as `gradients.Gathering` says."""
        for tensors, last_epoch in found:
            self._keep(*tensors, last_epoch=last_epoch)

    def _keep(
        self,
        maps: Tensor,
        scores: Tensor,
        tagged: Tensor,
        index: Tensor,
        mirrored: Tensor,
        *,
        last_epoch: bool,
    ) -> None:
        maps = torch.where(mirrored[:, None, None, None], maps.flip(-1), maps).relu()
        maps = maps / (maps.amax((2, 3), keepdim=True) + 1e-8)
        image, channel = tagged.nonzero(as_tuple=True)
        rows = self.rows[index[image], channel + 1]
        sure = scores[image, channel].sigmoid() >= self.least_score
        if last_epoch:  # a map that never was sure is better than none
            sure |= ~self.seen[rows]
        found = (maps[image, channel] * 255).round().to(torch.uint8)
        for row, found_map in zip(rows[sure], found[sure], strict=True):  # an image may come twice
            self.kept[row] = torch.maximum(self.kept[row], found_map)
        self.seen[rows[sure]] = True

    def maps(self, position: int, classes: Sequence[int]) -> Tensor:
        """Kept maps (len(classes), h, w) uint8 of the image at a position of the data set."""
        return self.kept[self.rows[position, list(classes)]]

    def state_dict(self) -> dict[str, Any]:
        """The maps kept so far."""
        return {"kept": self.kept, "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the maps kept before an interruption."""
        self.kept, self.seen = state["kept"], state["seen"]
