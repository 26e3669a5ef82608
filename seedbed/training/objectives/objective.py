"""What a training minimises: the interface of all objectives."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from seedbed.training.samples import Batch


class Objective(ABC):
    """What a training minimises.

    An objective that has a state overrides `state_dict` and `load_state_dict`, by which the
    checkpoint saves and restores it.
    """

    @abstractmethod
    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Scalars for the log; "loss" is minimised. `step` counts iterations from 0."""

    def state_dict(self) -> dict[str, Any]:
        """The state that the checkpoint saves: none."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027 - not abstract
        """Restore what `state_dict` returned: nothing."""


class CollectingObjective(Objective):
    """An objective that collects results while training, of completed iterations only.

    An iteration may be computed in parallel micro-batches, be repeated (when the GPU's memory is
    short) and be shared by processes. So each micro-batch is computed by a `collector` of its own,
    whose call only appends its results to `pending`. After the backward passes `fetch` moves them
    to the CPU, and `commit` gets the results of all micro-batches and all processes.
    """

    def __init__(self) -> None:
        self.pending: list[Any] = []

    def collector(self) -> Self:
        """A copy that shares everything but has nothing pending."""
        collector = copy.copy(self)
        collector.pending = []
        return collector

    def fetch(self, results: list[Any]) -> list[Any]:
        """The results on the CPU, here as they are. What reads tensors of a GPU waits for it."""
        return results

    @abstractmethod
    def commit(self, results: list[Any]) -> None:
        """Add the results of a completed iteration to the state, in the order of the batch."""
