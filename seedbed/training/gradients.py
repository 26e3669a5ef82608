"""The gradients of an iteration, computed in as many micro-batches as the GPU's memory demands."""

import math
import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from seedbed.runtime.errors import UserError
from seedbed.training.microbatches import MicroBatchGradients, MicroBatchResult, add_pairwise
from seedbed.training.objectives.objective import CollectingObjective, Objective
from seedbed.training.optimisation import Optimisation
from seedbed.training.processes import ProcessGroup
from seedbed.training.samples import Batch


class Gradients:
    """Computes the gradients of a batch in equal micro-batches, smaller ones where memory is short.

    Args:
        model: the network, on `device`.
        objective: what is minimised.
        optimisation: gives the batch, the number of micro-batches and the precision.
        device: the model's device.
        seed: of dropout.
        threads: of the CPU, see `MicroBatchGradients`.
        processes: which share the batch.

    """

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimisation: Optimisation,
        device: torch.device,
        *,
        seed: int,
        threads: int,
        processes: ProcessGroup,
    ) -> None:
        self.model = model
        self.objective = objective
        self.accumulation = optimisation.accumulation
        self.batch = optimisation.batch
        self.processes = processes
        self.compute = MicroBatchGradients(
            model,
            objective,
            count=self.count,
            precision=optimisation.precision,
            threads=threads,
            device=device,
            seed=seed,
        )

    def state_dict(self) -> dict[str, Any]:
        """The number of micro-batches of a batch, over all processes."""
        return {"accumulation": self.accumulation}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.accumulation = state["accumulation"]

    @property
    def count(self) -> int:
        """Micro-batches of this process's share, so that all processes together compute enough."""
        return self.accumulation // math.gcd(self.accumulation, self.processes.size)

    def __call__(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Leave the gradients of the mean loss in the model; return the objective's mean values.

        Raises:
            UserError: if the GPU has too little memory even for one image or group at a time.

        """
        while (mean := self._try(batch, step)) is None:
            self._use_smaller_batches(len(batch.images), step)
        for parameter, gradient in zip(self.compute.parameters, mean.gradients, strict=True):
            parameter.grad = gradient
        for buffer, value in zip(self.compute.statistics, mean.statistics, strict=True):
            buffer.copy_(value)
        if isinstance(self.objective, CollectingObjective):
            collected = self.objective.fetch(mean.collected)
            self.objective.commit(self.processes.gather(collected))
        return mean.values

    def _try(self, batch: Batch, step: int) -> MicroBatchResult | None:
        """The mean over all micro-batches; None if a process's GPU is out of memory."""
        self.model.zero_grad(set_to_none=True)
        total = None
        try:
            first = self.processes.rank * self.count
            total = add_pairwise(self.compute(batch.split(self.count), step, first))
        except torch.OutOfMemoryError:
            # Leave the handler before going on: the error keeps all tensors of the step alive.
            pass
        if not self.processes.any(total is None):
            return self._average(total)
        if self.compute.device.type == "cuda":
            del total
            torch.cuda.empty_cache()
        return None

    def _use_smaller_batches(self, images: int, step: int) -> None:
        """At least double the number of micro-batches; UserError if that cannot be."""
        most = self.batch // self.processes.size  # each an image, or a group of images
        counts = (n for n in range(2 * self.count, most + 1) if most % n == 0)
        if (count := next(counts, None)) is None:
            raise UserError(
                f"GPU out of memory at iteration {step + 1}, though a part of the batch is only "
                f"{images // most} image(s): take a smaller crop, another network, its option "
                "checkpointing if it has one, or a larger GPU"
            )
        self.accumulation = count * self.processes.size
        if self.processes.is_main:
            print(
                f"GPU out of memory at iteration {step + 1}: from here on a batch is computed in "
                f"{self.accumulation} parts of {images // count} images, as with accumulation: "
                f"{self.accumulation}; each part's loss is normalised by itself",
                file=sys.stderr,
                flush=True,
            )

    def _average(self, total: MicroBatchResult) -> MicroBatchResult:
        """Divide the sum over this process's micro-batches, and average over the processes."""
        values = torch.stack([value.float() for value in total.values.values()])
        values = values / self.count
        pairs = zip(total.gradients, self.compute.parameters, strict=True)
        gradients = [None if g is None else _mean_like(p, g, self.count) for g, p in pairs]
        statistics = [b / self.count if b.is_floating_point() else b for b in total.statistics]
        means = [t for t in (values, *gradients, *statistics) if t is not None]
        self.processes.average([mean for mean in means if mean.is_floating_point()])
        named = dict(zip(total.values, values, strict=True))
        return MicroBatchResult(named, gradients, statistics, total.collected)


def _mean_like(parameter: Tensor, total: Tensor, count: int) -> Tensor:
    """A new tensor total / count, laid out in memory as the parameter.

    PyTorch's fused optimisers go through the memory of both side by side, without a check. After
    channels_last features autograd's gradients have another layout, and they may share memory.
    """
    return torch.div(total, count, out=torch.empty_like(parameter))
