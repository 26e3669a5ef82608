"""What a training step of the two large networks needs of a GPU's memory; runs without a GPU.

The step is the real one (logits at the crop's size, cross entropy, SGD with momentum) on tensors
that have sizes and no contents. Counted is every tensor while it lives: parameters and buffers in
float32, gradients, momentum, what the forward pass keeps for the backward pass (in bfloat16 under
autocast, the cast weights too) and the results that operations hand to each other. Not counted:
the work space of cuDNN (it takes what it is given), the CUDA context (about 0.5 GiB) and what the
allocator loses by fragments.
"""

from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import finalize

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from seedbed.models import build
from seedbed.training.objectives.masks import MaskObjective
from seedbed.training.optimisation import SGD, Constant, Optimisation, make_optimizer
from seedbed.training.samples import Batch

GIB = 2**30
LIMIT = 24  # GiB of a common GPU
CLASSES = 21
STEPS = (("resnet101_deeplab", 321, 10), ("resnet38_seg", 448, 4))  # network, crop, batch


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that operations make, while they live."""

    def __init__(self) -> None:
        super().__init__()
        self.storages: dict[int, int] = {}
        self.now = self.peak = 0

    def __torch_dispatch__(
        self, operation: Callable, types: object, arguments: tuple = (), named: dict | None = None
    ) -> Any:  # noqa: ANN401 - whatever the operation gives
        """Run the operation and count what it made."""
        results = operation(*arguments, **(named or {}))
        for result in tree_leaves(results):
            if isinstance(result, Tensor):
                self._count(result.untyped_storage())
        return results

    def _count(self, storage: torch.UntypedStorage) -> None:
        if id(storage) not in self.storages:
            self.storages[id(storage)] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            finalize(storage, self._release, id(storage))

    def _release(self, key: int) -> None:
        self.now -= self.storages.pop(key)


class Needs(NamedTuple):
    """Bytes of a training step; `kept`: by the forward pass for the backward pass."""

    weights: int
    gradients: int
    momentum: int
    kept: int
    peak: int


def step_memory(network: str, crop: int, batch: int, *, checkpointing: bool) -> Needs:
    """Bytes of the second step, when the optimiser has its state."""
    with FakeTensorMode(), LiveBytes() as memory:
        model = build(network, CLASSES, checkpointing=checkpointing).train()
        weights = memory.now
        sgd = Optimisation(
            iterations=2,
            batch=batch,
            accumulation=1,
            precision="bfloat16",
            optimizer=SGD(momentum=0.9, nesterov=False, weight_decay=5e-4, decay_biases=False),
            schedule=Constant(),
            learning_rate=1e-3,
            multipliers=(1.0, 1.0, 1.0, 1.0),
        )
        optimizer = make_optimizer(model, sgd)
        samples = _samples(crop, batch)
        _forward(model, samples).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        before, memory.peak = memory.now, 0
        loss = _forward(model, samples)
        kept = memory.now - before
        loss.backward()
        optimizer.step()
    moved = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    return Needs(weights, moved, moved, kept, memory.peak)


def _forward(model: nn.Module, samples: Batch) -> Tensor:
    # Fake CUDA tensors need a CUDA build; autocast treats these networks alike on both devices.
    with torch.autocast("cpu", torch.bfloat16):
        return MaskObjective("half_pixel")(model, samples, 0)["loss"]


def _samples(crop: int, batch: int) -> Batch:
    return Batch(
        images=torch.empty(batch, 3, crop, crop),
        tags=torch.empty(batch, CLASSES),
        index=torch.empty(batch, dtype=torch.long),
        mirrored=torch.empty(batch, dtype=torch.bool),
        targets=torch.empty(batch, crop, crop, dtype=torch.uint8),
    )


def main() -> None:
    """Print a table in GiB."""
    print("| network | crop | batch | checkpointing | weights | gradients | momentum |", end="")
    print(f" kept for backward | peak | fits {LIMIT} GiB |\n" + "|---" * 10 + "|")
    for network, crop, batch in STEPS:
        for checkpointing in (False, True):
            needs = step_memory(network, crop, batch, checkpointing=checkpointing)
            figures = " | ".join(f"{size / GIB:.2f}" for size in needs)
            fits = "yes" if needs.peak < LIMIT * GIB else "no"
            saving = "yes" if checkpointing else "no"
            print(f"| {network} | {crop} | {batch} | {saving} | {figures} | {fits} |")


if __name__ == "__main__":
    main()
