"""The five kinds of training, each with a synthetic batch: what the rows compute steps of."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.gpu.reference import GRID_PARAMS
from benchmarks.gpu.rows import SEED, Setup
from seedbed.crf import DenseCRFGrid
from seedbed.models import build
from seedbed.models.network import Network
from seedbed.training.objectives.affinity import AffinityObjective
from seedbed.training.objectives.dsrg import SeedGrowingObjective
from seedbed.training.objectives.group import Accumulation, GroupObjective, MapAccumulator
from seedbed.training.objectives.masks import MaskObjective
from seedbed.training.objectives.objective import CollectingObjective, Objective
from seedbed.training.objectives.tags import TagObjective
from seedbed.training.optimisation import SGD, Constant, Optimisation, make_optimizer
from seedbed.training.samples import Batch

CLASSES, GROUP_SIZE = 21, 3


@dataclass(frozen=True)
class Case:
    """A training: its kind, network, crop and batch; the second three are those of a rehearsal."""

    kind: str
    network: str
    crop: int
    batch: int
    small: tuple[str, int, int]

    def sizes(self, setup: Setup) -> tuple[str, int, int]:
        """Network, crop and batch."""
        return self.small if setup.small else (self.network, self.crop, self.batch)


DSRG = Case("dsrg", "vgg16_largefov", 321, 20, ("tiny_seg", 64, 2))
RESNET101 = Case("masks", "resnet101_deeplab", 321, 10, ("tiny_seg", 64, 2))
RESNET38 = Case("masks", "resnet38_seg", 448, 4, ("tiny_seg", 64, 2))
TAGS = Case("tags", "vgg16_cam", 321, 15, ("tiny_cls", 64, 2))
GROUP = Case("group", "vgg16_group", 256, 4 * GROUP_SIZE, ("tiny_group", 64, 2 * GROUP_SIZE))
AFFINITY = Case("affinity", "resnet38_affinity", 448, 4, ("vgg16_affinity", 96, 2))


@dataclass
class Training:
    """A network, its objective, optimiser and one batch, all on the device."""

    model: Network
    objective: Objective
    batch: Batch
    optimizer: torch.optim.Optimizer
    setup: Setup

    def step(self, loss: Callable[[], Tensor] | None = None) -> Tensor:
        """One iteration, with the objective's loss or another one; returns the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with self.setup.autocast():
            value = loss() if loss else self.objective(self.model, self.batch, 0)["loss"]
        value.backward()
        self.optimizer.step()
        if isinstance(self.objective, CollectingObjective):
            self.objective.pending = []
        return value.detach()

    def network_loss(self) -> Tensor:
        """A loss of one operation: what is left is the network."""
        return self.model(self.model.preprocess(self.batch.images)).float().square().mean()


def optimisation(batch: int, accumulation: int = 1, iterations: int = 1) -> Optimisation:
    """SGD with momentum."""
    return Optimisation(
        iterations=iterations,
        batch=batch,
        accumulation=accumulation,
        precision="float32",
        optimizer=SGD(momentum=0.9, nesterov=False, weight_decay=5e-4, decay_biases=False),
        schedule=Constant(),
        learning_rate=1e-5,
        multipliers=(1.0, 1.0, 1.0, 1.0),
    )


def make(case: Case, setup: Setup) -> Training:
    """A training from the same seed: the same weights and batch each time."""
    network, crop, count = case.sizes(setup)
    torch.manual_seed(SEED)
    with setup.device:
        model = build(network, CLASSES if case.kind in ("dsrg", "masks") else CLASSES - 1)
    side = 0
    if case.kind in ("dsrg", "affinity"):
        side = model.eval().output_side(crop)
    batch = made_up(case.kind, crop, count, side).to(setup.device)
    groups = count // GROUP_SIZE if case.kind == "group" else count
    optimizer = make_optimizer(model, optimisation(groups))
    objective = OBJECTIVES[case.kind](batch=count)
    return Training(model.train(), objective, batch, optimizer, setup)


def made_up(kind: str, crop: int, count: int, side: int) -> Batch:
    """Smooth images of two classes and background, and what supervises this kind; on the CPU.

    side: of the network's grid, for cues and the labels of cells.
    """
    generator = torch.Generator().manual_seed(SEED)
    coarse = 255 * torch.rand(count, 3, 12, 12, generator=generator)
    tags = torch.zeros(count, CLASSES)
    tags[:, :3] = 1
    cues = torch.rand(count, CLASSES, side, side, generator=generator) < 0.05
    targets = {
        "dsrg": lambda: cues & (tags[:, :, None, None] > 0),
        "masks": lambda: torch.randint(0, 3, (count, crop, crop), generator=generator).byte(),
        "affinity": lambda: torch.randint(0, 3, (count, side, side), generator=generator).byte(),
    }
    return Batch(
        images=torch.nn.functional.interpolate(coarse, (crop, crop), mode="bilinear"),
        tags=tags,
        index=torch.arange(count),
        mirrored=torch.zeros(count, dtype=torch.bool),
        targets=targets[kind]() if kind in targets else None,
    )


def _dsrg(batch: int) -> Objective:
    return SeedGrowingObjective(
        DenseCRFGrid(**GRID_PARAMS),
        grow_on="crf",
        train_unary="prob",
        foreground_threshold=0.85,
        background_threshold=0.99,
        prefill_seeds=True,
        crf_image="corner_aligned",
        crf_gradient="one_minus_q",
        constraint_clip=(0.05, 20.0),
        constraint_weight=1.0,
    )


def _group(batch: int) -> Objective:
    accumulator = MapAccumulator([(1, 2)] * batch, CLASSES, (1, 1), min_score=0.0)
    accumulation = Accumulation(first_step=99, last_epoch_step=99, min_score=0.0)
    return GroupObjective(accumulator, accumulation, group_size=GROUP_SIZE, before_weight=1.0)


OBJECTIVES: dict[str, Callable[..., Objective]] = {
    "dsrg": _dsrg,
    "group": _group,
    "masks": lambda batch: MaskObjective("half_pixel"),
    "tags": lambda batch: TagObjective(),
    "affinity": lambda batch: AffinityObjective(),
}
