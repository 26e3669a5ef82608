"""What a training makes small, and the gradients of a step, in as many parts as fit in memory."""

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seedbed.inference.precision import mixed_precision
from seedbed.runtime.errors import UserError
from seedbed.training.optimisation import Optimisation
from seedbed.training.processes import Team
from seedbed.training.samples import Batch


class Objective(Protocol):
    """What a training minimises.

    Called with the network and a batch it returns the loss and figures for the log; its state
    (maps gathered while training, say) is kept in the checkpoint.
    """

    def __call__(self, model: nn.Module, batch: Batch, step: int) -> dict[str, Tensor]:
        """Figures for the log; "loss" is minimised."""

    def state_dict(self) -> dict[str, Any]:
        """What must survive an interruption."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up where `state_dict` left off."""


@runtime_checkable
class Gathering(Protocol):
    """An objective that gathers something while training: only of steps that were completed.

    A call appends to `found` what its part of the batch gives, on the CPU; its state stays. When
    the step is done, `keep` takes up what all parts gave, in all processes.
    """

    found: list[Any]

    def keep(self, found: list[Any]) -> None:
        """Take up what was found, in the order of the batch."""


class Gradients:
    """The gradients of a step, computed in as many parts as the GPU's memory demands."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        optimisation: Optimisation,
        device: torch.device,
        seed: int,
        team: Team,
    ) -> None:
        self.model = model
        self.objective = objective
        self.accumulation = optimisation.accumulation
        self.batch = optimisation.batch
        self.device = device
        self.seed = seed
        self.team = team
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
        self.statistics = [buffer for norm in norms for buffer in norm.buffers()]

    def state_dict(self) -> dict[str, Any]:
        """In how many parts a batch is computed."""
        return {"accumulation": self.accumulation}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin with as many parts."""
        self.accumulation = state["accumulation"]

    @property
    def parts(self) -> int:
        """Parts of this process's share: together no fewer than without the others."""
        return self.accumulation // math.gcd(self.accumulation, self.team.size)

    def __call__(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """Leave the gradients of the mean loss in the model; the means of the figures."""
        while (figures := self._attempt(batch, step)) is None:
            self._cut_finer(len(batch.images), step)
        if isinstance(self.objective, Gathering):
            self.objective.keep(self.team.gather(self.objective.found))
            self.objective.found = []
        return self._of_all(figures)

    def _attempt(self, batch: Batch, step: int) -> dict[str, Tensor] | None:
        """The figures; None, and all as it was before, if a device of the team is full."""
        before = [buffer.clone() for buffer in self.statistics]
        # Each process draws for its own share, the first what a process alone would. On the CPU the
        # lower 32 bits of a seed count: by these the ranks lie far apart.
        torch.manual_seed(self.seed * 1_000_003 + step + self.team.rank * 0x9E3779B1)
        self.model.zero_grad(set_to_none=True)
        full = False
        try:
            figures = _accumulate(
                self.model, self.objective, batch.parts(self.parts), step, self.device
            )
        except torch.OutOfMemoryError:
            full = True  # and no more: the error keeps all tensors of the step alive
        if not self.team.any(full):
            return figures
        self.model.zero_grad(set_to_none=True)
        for buffer, value in zip(self.statistics, before, strict=True):
            buffer.copy_(value)
        if isinstance(self.objective, Gathering):
            self.objective.found = []
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _cut_finer(self, images: int, step: int) -> None:
        """At least twice as many equal parts; UserError if each is but one image or group."""
        most = self.batch // self.team.size if self.batch else images
        finer = (n for n in range(2 * self.parts, most + 1) if most % n == 0)
        if (parts := next(finer, None)) is None:
            raise UserError(
                f"GPU out of memory at iteration {step + 1}, though a part of the batch is only "
                f"{images // most} image(s): take a smaller crop, another network, its option "
                "checkpointing if it has one, or a larger GPU"
            )
        self.accumulation = parts * self.team.size
        if self.team.leads:
            print(
                f"GPU out of memory at iteration {step + 1}: from here on a batch is computed in "
                f"{self.accumulation} parts of {images // parts} images, as with accumulation: "
                f"{self.accumulation}; the update stays one of the whole batch",
                file=sys.stderr,
                flush=True,
            )

    def _of_all(self, figures: dict[str, Tensor]) -> dict[str, Tensor]:
        """Average gradients, statistics and figures over the team."""
        if self.team.size == 1:
            return figures
        means = torch.stack([figure.float() for figure in figures.values()])
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        running = [buffer for buffer in self.statistics if buffer.is_floating_point()]
        self.team.average([means, *gradients, *running])
        return dict(zip(figures, means, strict=True))


def _accumulate(
    model: nn.Module, objective: Objective, parts: Sequence[Batch], step: int, device: torch.device
) -> dict[str, Tensor]:
    """Gradients of the mean loss of a batch's equal parts, and the means of their figures."""
    found: list[dict[str, Tensor]] = []
    for part in parts:
        with mixed_precision(device):
            figures = objective(model, part.to(device), step)
        (figures["loss"] / len(parts)).backward()
        found.append({name: figure.detach() for name, figure in figures.items()})
    return {name: torch.stack([f[name] for f in found]).mean(0) for name in found[0]}
