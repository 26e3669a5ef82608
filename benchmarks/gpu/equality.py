"""Equal to the CPU: growing, dense CRF, random walk, losses with their gradients, group maps."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu import reference
from benchmarks.gpu.rows import SEED, Outcome, Row, Setup, relative_difference
from benchmarks.growing import batch as growing_batch
from benchmarks.inference import index_of, made_up, saved
from seedbed.crf import DenseCRFGrid, dense_crf
from seedbed.formats.maps import Maps, write_maps
from seedbed.methods.dsrg.growing import grow_seeds
from seedbed.methods.dsrg.losses import balanced_seed_loss, constraint_loss, smooth_softmax
from seedbed.methods.losses import classification_loss, masked_cross_entropy
from seedbed.methods.psa.loss import affinity_losses
from seedbed.methods.psa.pairs import pair_offsets
from seedbed.methods.psa.walk import random_walk
from stages.group_cam import group_cam
from stages.settings import GroupCamSettings

AGREEMENT = 0.9999
TOLERANCE = 1e-4


def growing(setup: Setup) -> Outcome:
    """Seeds of a training step's batch."""
    inputs = growing_batch()
    options = {"foreground_threshold": 0.85, "background_threshold": 0.99}
    differing, grown = 0, 0
    for prefill_seeds in (False, True):
        expected = grow_seeds(*inputs, **options, prefill_seeds=prefill_seeds)
        on_device = [tensor.to(setup.device) for tensor in inputs]
        found = grow_seeds(*on_device, **options, prefill_seeds=prefill_seeds).cpu()
        differing += int((found != expected).sum())
        grown += int(expected.sum())
    text = f"{differing} of {grown} seeds differ"
    return Outcome(text, differing == 0 < grown, {"differing": differing})


def crf(setup: Setup, *, name: str) -> Outcome:
    """Labels of the dense CRF with tensors against the native ones that were stored."""
    case, expected = reference.load(name)
    images = torch.from_numpy(case.images).to(setup.device)
    unary = torch.from_numpy(case.unary).to(setup.device)
    params = case.params | {"backend": "torch"}
    if name == "grids":
        posterior = DenseCRFGrid(**params)(images.permute(0, 3, 1, 2), unary)
    else:
        posterior = torch.stack(
            [dense_crf(i, u, params) for i, u in zip(images, unary, strict=True)]
        )
    agreement = float((posterior.argmax(1).cpu().numpy() == expected).mean())
    return Outcome(f"{agreement:.6f}", agreement >= AGREEMENT, {"agreement": agreement})


def walk(setup: Setup) -> Outcome:
    """PSA's random walk of 256 steps."""
    generator = torch.Generator().manual_seed(SEED)
    size = (24, 18) if setup.small else (63, 47)
    affinities = torch.rand(len(pair_offsets()), *size, generator=generator)
    scores = torch.rand(21, *size, generator=generator)
    expected = random_walk(affinities, scores, beta=8.0, steps=256)
    found = random_walk(affinities.to(setup.device), scores.to(setup.device), beta=8.0, steps=256)
    return close(relative_difference(found, expected))


def close(difference: float, tolerance: float = TOLERANCE) -> Outcome:
    """Whether a relative difference is at most the tolerance."""
    return Outcome(f"{difference:.1e}", difference <= tolerance, {"difference": difference})


def loss_and_gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    """The value, and its gradient by the logits."""
    logits = logits.detach().requires_grad_()
    value = loss(logits)
    return value, torch.autograd.grad(value, logits)[0]


def _losses(device: torch.device) -> dict[str, tuple[Callable[[Tensor], Tensor], Tensor]]:
    """Every loss as a function of logits, and the logits, on a device."""
    generator = torch.Generator().manual_seed(SEED)
    logits = 3 * torch.randn(4, 21, 41, 41, generator=generator)
    seeds = (torch.rand(logits.shape, generator=generator) < 0.03).to(device)
    refined = torch.randn(logits.shape, generator=generator).softmax(1).to(device)
    masks = torch.randint(0, 22, (4, 41, 41), generator=generator)
    masks = masks.masked_fill(masks == 21, 255).to(device)
    tags = (torch.rand(4, 20, generator=generator) < 0.2).to(device)
    kinds = torch.randint(0, 4, (4, 34, 300), generator=generator).to(device)
    clip = (0.05, 20.0)

    def constraint(x: Tensor, how: str) -> Tensor:
        return constraint_loss(smooth_softmax(x), refined, clip=clip, crf_gradient=how)

    return {
        "seed": (lambda x: balanced_seed_loss(smooth_softmax(x), seeds), logits),
        "constraint": (lambda x: constraint(x, "one_minus_q"), logits),
        "constraint, q constant": (lambda x: constraint(x, "none"), logits),
        "masks": (lambda x: masked_cross_entropy(x, masks), logits),
        "tags": (lambda x: classification_loss(x, tags), logits[:, 1:, 0, 0]),
        "affinity": (
            lambda x: affinity_losses(x.sigmoid(), kinds == 0, kinds == 1, kinds == 2).total,
            torch.randn(kinds.shape, generator=generator),
        ),
    }


def losses(setup: Setup) -> Outcome:
    """Every loss and its gradient, in float32."""
    differences = {}
    on_device = _losses(setup.device)
    for name, (loss, logits) in _losses(torch.device("cpu")).items():
        expected = loss_and_gradient(loss, logits)
        found = loss_and_gradient(on_device[name][0], on_device[name][1].to(setup.device))
        pairs = zip(found, expected, strict=True)
        differences[name] = max(relative_difference(*pair) for pair in pairs)
    worst = max(differences, key=differences.get)
    text = f"{differences[worst]:.1e} ({worst}); {len(differences)} losses"
    return Outcome(text, differences[worst] <= TOLERANCE, differences)


def group_maps(setup: Setup) -> Outcome:
    """The stage group_cam on a few images: levels of 0 to 255."""
    settings = GroupCamSettings(source="network", groups=2, size=64 if setup.small else 128)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entries = made_up(folder, 6)
        weights = saved(folder, "squeezenet1_0_group", 20)
        with write_maps(folder / "kept.h5"):
            pass
        compute = partial(
            group_cam,
            index=index_of(folder, entries),
            shard="1-of-1",
            settings=settings,
            group_size=3,
            data=folder,
            workers=1,
            weights=weights,
            kept=folder / "kept.h5",
        )
        maps = {}
        for device in {"cpu", setup.device.type}:
            compute(device=device, output=folder / f"{device}.h5")
            with Maps(folder / f"{device}.h5") as found:
                maps[device] = np.stack([found.floats(entry.id) for entry in entries])
    return close(float(np.abs(maps[setup.device.type] - maps["cpu"]).max()), 0.05)


ROWS = (
    Row("growing, 20 × 21 × 41 × 41, against the CPU", "equal", growing),
    Row(
        "CRF of 20 grids, 21 labels, against native: agreement",
        f"≥ {AGREEMENT}",
        partial(crf, name="grids"),
    ),
    Row(
        "CRF of 2 images, 21 labels, against native: agreement",
        f"≥ {AGREEMENT}",
        partial(crf, name="full_size"),
    ),
    Row("random walk, 256 steps: relative difference", f"≤ {TOLERANCE}", walk),
    Row("losses and gradients: greatest relative difference", f"≤ {TOLERANCE}", losses),
    Row("group maps of 6 images: greatest difference of 1", "≤ 0.05", group_maps),
)
