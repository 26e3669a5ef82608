"""Every network's forward pass against the CPU's in float32."""

from functools import partial

import torch
from torch import Tensor

from benchmarks.gpu.rows import SEED, Outcome, Row, Setup, relative_difference
from benchmarks.gpu.trainings import CLASSES
from seedbed.models import build
from seedbed.models.network import Network
from seedbed.models.registry import NETWORKS

TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1}  # of the greatest output


def outputs(model: Network, images: Tensor) -> list[Tensor]:
    """What the network returns, in float32."""
    found = model(model.preprocess(images) if images.ndim == 4 else _groups(model, images))
    return [each.float() for each in ((found,) if isinstance(found, Tensor) else found)]


def _groups(model: Network, images: Tensor) -> Tensor:
    return model.preprocess(images.flatten(0, 1)).unflatten(0, images.shape[:2])


@torch.no_grad()
def forward(setup: Setup, *, name: str) -> Outcome:
    """Both precisions."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(SEED)
    info = NETWORKS[name]
    model = build(name, CLASSES if info.kind == "seg" else CLASSES - 1).eval()
    side = max(info.min_crop, 96)
    shape = (1, 3, 3, side, side) if info.kind == "group" else (2, 3, side, side)
    images = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(SEED)).float()
    expected = outputs(model, images)
    model, images = model.to(setup.device), images.to(setup.device)
    differences = {}
    for precision in TOLERANCE:
        with setup.autocast(precision):
            pairs = zip(outputs(model, images), expected, strict=True)
            differences[precision] = max(relative_difference(*pair) for pair in pairs)
    text = ", ".join(f"{precision} {value:.1e}" for precision, value in differences.items())
    ok = all(differences[precision] <= limit for precision, limit in TOLERANCE.items())
    return Outcome(text, ok, differences)


GOAL = ", ".join(f"{precision} ≤ {limit:g}" for precision, limit in TOLERANCE.items())
ROWS = tuple(Row(f"forward of {name}", GOAL, partial(forward, name=name)) for name in NETWORKS)
