"""Loss, gradients and update read nothing back from their device, and copy no numbers to it.

The steps run on the device `meta`, where doing so is an error; as on a GPU, `auto` is the CRF with
tensors.
"""

import pytest
import torch

from seedbed.crf import DenseCRFGrid, meanfield
from seedbed.crf.lattice import Lattice
from seedbed.models import build
from seedbed.training.objectives.affinity import AffinityObjective
from seedbed.training.objectives.dsrg import SeedGrowingObjective
from seedbed.training.objectives.group import Accumulation, GroupObjective, MapAccumulator
from seedbed.training.objectives.masks import MaskObjective
from seedbed.training.objectives.tags import TagObjective
from seedbed.training.samples import Batch
from tests.support.waits import META, RefuseCopies
from tests.unit.crf.test_crf import GRID

SIDE, GRID_SIDE = 96, 24


def dsrg(crf_image="corner_aligned", **options):
    return SeedGrowingObjective(
        DenseCRFGrid(**GRID),
        **{"grow_on": "crf", "train_unary": "prob", "prefill_seeds": True} | options,
        foreground_threshold=0.85,
        background_threshold=0.99,
        crf_image=crf_image,
        crf_gradient="one_minus_q",
        constraint_clip=(0.05, 20.0),
        constraint_weight=1.0,
    )


def group():
    return GroupObjective(
        MapAccumulator([(1,), (2,)], 5, (12, 12), 0.0),
        Accumulation(first_step=0, last_epoch_step=0, min_score=0.0),
        group_size=2,
        before_weight=1.0,
    )


@pytest.fixture(autouse=True)
def lattice_of_positions(monkeypatch):
    """It is computed once for each shape, and may wait: here it is computed on the CPU."""

    def moved(value):
        if isinstance(value, list):
            return [moved(each) for each in value]
        return value.to(META, non_blocking=True) if isinstance(value, torch.Tensor) else value

    def cached(batch, height, width, params, device):
        lattice = Lattice.__new__(Lattice)
        on_cpu = meanfield._gaussian_lattice(batch, height, width, params, torch.device("cpu"))
        vars(lattice).update({name: moved(value) for name, value in vars(on_cpu).items()})
        return lattice

    monkeypatch.setattr(meanfield, "_cached_gaussian_lattice", cached)


@pytest.mark.parametrize(
    ("objective", "network", "classes", "targets"),
    [
        (group(), "tiny_group", 4, None),
        (TagObjective(), "tiny_cls", 4, None),
        (MaskObjective("half_pixel"), "tiny_seg", 5, (SIDE, SIDE)),
        (AffinityObjective(), "vgg16_affinity", 4, (12, 12)),
        (dsrg(), "tiny_seg", 5, (5, GRID_SIDE, GRID_SIDE)),
        (
            dsrg("tf_legacy", grow_on="softmax", train_unary="logprob"),
            "tiny_seg",
            5,
            (5, GRID_SIDE, GRID_SIDE),
        ),
    ],
)
def test_a_step_never_waits_for_the_device(objective, network, classes, targets):
    with META:
        options = {"group_size": 2} if network == "tiny_group" else {}
        model = build(network, classes, **options).train()
    model = model.to(META)  # buffers are made on the CPU wherever a network is built
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    batch = Batch(
        images=torch.empty(2, 3, SIDE, SIDE),
        tags=torch.ones(2, 5),
        index=torch.arange(2),
        mirrored=torch.zeros(2, dtype=torch.bool),
        targets=None if targets is None else torch.zeros(2, *targets, dtype=torch.uint8),
    ).to(META)
    with RefuseCopies():
        values = objective(model, batch, 0)
        values["loss"].backward()
        optimizer.step()
    assert all(value.device == META and value.ndim == 0 for value in values.values())


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: bool(x.max() > 0),
        lambda x: x.nonzero(),
        lambda x: x.cpu(),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.zeros(2).to(x.device),
        lambda x: torch.where(x > 0, x, 0.0),
        lambda x: x.__setitem__(x > 0, 0.0),
    ],
)
def test_what_waits_is_found(wait):
    with RefuseCopies(), pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
        wait(torch.empty(3, device=META))
