"""The gradients of an iteration, accumulated over as many parts as the GPU's memory demands."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seedbed.inference.precision import mixed_precision
from seedbed.runtime.errors import UserError
from seedbed.training.objectives.objective import CollectingObjective, Objective
from seedbed.training.optimisation import Optimisation
from seedbed.training.processes import ProcessGroup
from seedbed.training.samples import Batch

# Multiples of this separate the seeds of the processes: the CPU's generator uses the lower 32 bits.
RANK_STRIDE = 0x9E3779B1


class Gradients:
    """Computes the gradients of a batch in equal parts, smaller ones where memory is short."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimisation: Optimisation,
        device: torch.device,
        seed: int,
        processes: ProcessGroup,
    ) -> None:
        self.model = model
        self.objective = objective
        self.accumulation = optimisation.accumulation
        self.batch = optimisation.batch
        self.device = device
        self.seed = seed
        self.processes = processes
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
        self.statistics = [buffer for norm in norms for buffer in norm.buffers()]

    def state_dict(self) -> dict[str, Any]:
        """The number of parts of a batch."""
        return {"accumulation": self.accumulation}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the number of parts of a batch."""
        self.accumulation = state["accumulation"]

    @property
    def parts(self) -> int:
        """Parts of this process's share, so that all processes together compute enough parts."""
        return self.accumulation // math.gcd(self.accumulation, self.processes.size)

    def __call__(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Leave the gradients of the mean loss in the model; return the objective's mean values.

        Raises:
            UserError: if the GPU has too little memory even for one image or group at a time.

        """
        while (values := self._try(batch, step)) is None:
            self._use_smaller_parts(len(batch.images), step)
        if isinstance(self.objective, CollectingObjective):
            self.objective.commit(self.processes.gather(self.objective.pending))
            self.objective.pending = []
        return self._average(values)

    def _try(self, batch: Batch, step: int) -> dict[str, Tensor] | None:
        """The mean values; None, with all state as before, if a process's GPU is out of memory."""
        statistics = [buffer.clone() for buffer in self.statistics]
        # The main process draws what a single process would, each other one draws its own.
        torch.manual_seed(self.seed * 1_000_003 + step + self.processes.rank * RANK_STRIDE)
        self.model.zero_grad(set_to_none=True)
        out_of_memory = False
        try:
            values = _accumulate(
                self.model, self.objective, batch.split(self.parts), step, self.device
            )
        except torch.OutOfMemoryError:
            # Leave the handler before going on: the error keeps all tensors of the step alive.
            out_of_memory = True
        if not self.processes.any(out_of_memory):
            return values
        self._undo(statistics)
        return None

    def _undo(self, statistics: Sequence[Tensor]) -> None:
        """Forget what an attempt computed; restore the running statistics of norms."""
        self.model.zero_grad(set_to_none=True)
        for buffer, value in zip(self.statistics, statistics, strict=True):
            buffer.copy_(value)
        if isinstance(self.objective, CollectingObjective):
            self.objective.pending = []
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _use_smaller_parts(self, images: int, step: int) -> None:
        """Raise the number of parts to at least twice as many; UserError if that cannot be."""
        most = self.batch // self.processes.size  # each an image, or a group of images
        counts = (n for n in range(2 * self.parts, most + 1) if most % n == 0)
        if (parts := next(counts, None)) is None:
            raise UserError(
                f"GPU out of memory at iteration {step + 1}, though a part of the batch is only "
                f"{images // most} image(s): take a smaller crop, another network, its option "
                "checkpointing if it has one, or a larger GPU"
            )
        self.accumulation = parts * self.processes.size
        if self.processes.is_main:
            print(
                f"GPU out of memory at iteration {step + 1}: from here on a batch is computed in "
                f"{self.accumulation} parts of {images // parts} images, as with accumulation: "
                f"{self.accumulation}; the update stays one of the whole batch",
                file=sys.stderr,
                flush=True,
            )

    def _average(self, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Average gradients, running statistics and values over the processes."""
        if self.processes.size == 1:
            return values
        means = torch.stack([value.float() for value in values.values()])
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        running = [buffer for buffer in self.statistics if buffer.is_floating_point()]
        self.processes.average([means, *gradients, *running])
        return dict(zip(values, means, strict=True))


def _accumulate(
    model: nn.Module, objective: Objective, parts: Sequence[Batch], step: int, device: torch.device
) -> dict[str, Tensor]:
    """Accumulate the gradients of the mean loss of equal parts; return the mean values."""
    results: list[dict[str, Tensor]] = []
    for part in parts:
        with mixed_precision(device):
            values = objective(model, part.to(device), step)
        (values["loss"] / len(parts)).backward()
        results.append({name: value.detach() for name, value in values.items()})
    return {name: torch.stack([each[name] for each in results]).mean(0) for name in results[0]}
