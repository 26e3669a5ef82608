"""The objective of group-wise mining, and the class maps that it accumulates (Group-WSSS)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from seedbed.methods.losses import classification_loss
from seedbed.training.objectives.objective import CollectingObjective
from seedbed.training.samples import Batch


@dataclass(frozen=True, kw_only=True)
class Accumulation:
    """Which maps of a training are accumulated.

    Attributes:
        first_step: the first iteration whose maps are kept.
        last_epoch_step: the first iteration of the last epoch, in which a map with too low a score
            is kept if its image and class have none yet.
        min_score: the lowest sigmoid score of the map's class, in [0, 1].

    """

    first_step: int
    last_epoch_step: int
    min_score: float

    @classmethod
    def from_epoch(
        cls, epoch: int, *, images: int, batch: int, iterations: int, min_score: float
    ) -> Self:
        """Accumulate from an epoch on, counted from 0, and at the latest in the last one.

        An epoch visits each of the images once as the first of a group. The number of epochs is
        rounded: trainings often lack the last, incomplete batch of each epoch.

        Args:
            epoch: the first epoch whose maps are kept.
            images: of the data set.
            batch: groups of an iteration.
            iterations: of the training.
            min_score: see `Accumulation`.

        """
        epochs = round(iterations * batch / images)
        last = max(0, epochs - 1) * images // batch
        first = epoch * images // batch
        return cls(first_step=min(first, last), last_epoch_step=last, min_score=min_score)


class CollectedMaps(NamedTuple):
    """Class maps of the first image of each of N groups, and what says which are kept.

    Attributes:
        maps: (N, K, h, w) float.
        scores: (N, K) logits after the graph.
        tags: (N, K) bool.
        index: (N,) int64 positions in the data set.
        mirrored: (N,) bool.
        last_epoch: whether a map with a low score is kept, see `Accumulation`.

    """

    maps: Tensor
    scores: Tensor
    tags: Tensor
    index: Tensor
    mirrored: Tensor
    last_epoch: bool

    def cpu(self) -> "CollectedMaps":
        """The same on the CPU."""
        *tensors, last_epoch = self
        return CollectedMaps(*(tensor.cpu() for tensor in tensors), last_epoch)


class MapAccumulator:
    """The maximum of each image's class maps over a training (Li et al., AAAI 2021).

    Maps are uint8 and relative to their own maximum; there is one for each pair of an image and one
    of its classes. (The original keeps them in PNG files.)

    Args:
        labels: class ids of each image of the data set, from 1.
        num_classes: number of classes, background included.
        grid: rows and columns of the maps.
        min_score: see `Accumulation`.

    """

    def __init__(
        self,
        labels: Sequence[tuple[int, ...]],
        num_classes: int,
        grid: tuple[int, int],
        min_score: float,
    ) -> None:
        tagged = torch.zeros(len(labels), num_classes, dtype=torch.bool)
        for i, classes in enumerate(labels):
            tagged[i, list(classes)] = True
        self.rows = tagged.flatten().cumsum(0).view_as(tagged) - 1
        self.kept = torch.zeros(int(tagged.sum()), *grid, dtype=torch.uint8)
        self.seen = torch.zeros(len(self.kept), dtype=torch.bool)
        self.min_score = min_score

    def add(self, batch: CollectedMaps) -> None:
        """Take the maximum with the maps whose score is high enough, unmirrored."""
        mirrored = batch.mirrored[:, None, None, None]
        maps = torch.where(mirrored, batch.maps.flip(-1), batch.maps).relu()
        maps = maps / (maps.amax((2, 3), keepdim=True) + 1e-8)
        image, channel = batch.tags.nonzero(as_tuple=True)
        rows = self.rows[batch.index[image], channel + 1]
        accepted = batch.scores[image, channel].sigmoid() >= self.min_score
        if batch.last_epoch:  # a map with a low score is better than none
            accepted |= ~self.seen[rows]
        levels = (maps[image, channel] * 255).round().to(torch.uint8)
        # With a reduction: an image may be the first of several groups of a batch.
        new = levels[accepted]
        places = rows[accepted][:, None, None].expand_as(new)
        self.kept.scatter_reduce_(0, places, new, "amax")
        self.seen[rows[accepted]] = True

    def maps(self, position: int, classes: Sequence[int]) -> Tensor:
        """Maps (len(classes), h, w) uint8 of the image at a position of the data set."""
        return self.kept[self.rows[position, list(classes)]]

    def state_dict(self) -> dict[str, Any]:
        """The maps, and which of them have been seen."""
        return {"kept": self.kept, "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.kept, self.seen = state["kept"], state["seen"]


class GroupObjective(CollectingObjective):
    """Soft margin loss of groups against their tags, before and after the co-attention graph.

    While it trains, the class maps of each group's first image are accumulated.

    Args:
        accumulator: gets the maps.
        accumulation: which maps it gets.
        group_size: images in a group.
        before_weight: factor of the loss before the graph.

    """

    def __init__(
        self,
        accumulator: MapAccumulator,
        accumulation: Accumulation,
        *,
        group_size: int,
        before_weight: float,
    ) -> None:
        super().__init__()
        self.accumulator = accumulator
        self.accumulation = accumulation
        self.group_size = group_size
        self.before_weight = before_weight

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """The loss, and its parts before and after the graph."""
        images = model.preprocess(batch.images)
        output = model(images.unflatten(0, (-1, self.group_size)))
        tags = batch.tags[:, 1:]
        before = classification_loss(output.scores_before.float().flatten(0, 1), tags)
        after = classification_loss(output.scores_after.float().flatten(0, 1), tags)
        if step >= self.accumulation.first_step:
            first = slice(None, None, self.group_size)
            self.pending.append(
                CollectedMaps(
                    maps=output.maps[:, 0].detach().float(),
                    scores=output.scores_after[:, 0].detach().float(),
                    tags=tags[first] > 0,
                    index=batch.index[first],
                    mirrored=batch.mirrored[first],
                    last_epoch=step >= self.accumulation.last_epoch_step,
                )
            )
        loss = (self.before_weight * before + after) / 2
        return {"loss": loss, "before_loss": before, "after_loss": after}

    def fetch(self, results: list[CollectedMaps]) -> list[CollectedMaps]:
        """The maps of an iteration on the CPU."""
        return [maps.cpu() for maps in results]

    def commit(self, results: list[CollectedMaps]) -> None:
        """Accumulate the maps of a completed iteration."""
        for maps in results:
            self.accumulator.add(maps)

    def state_dict(self) -> dict[str, Any]:
        """The accumulated maps."""
        return self.accumulator.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the accumulated maps."""
        self.accumulator.load_state_dict(state)
