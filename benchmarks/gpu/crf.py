"""The dense CRF against the time of pydensecrf that docs/performance.md states."""

from functools import partial

import torch

from benchmarks.gpu.reference import GRID_PARAMS, PARAMS, full_size, grids
from benchmarks.gpu.rows import Outcome, Row, Setup
from seedbed.crf import DenseCRFGrid, dense_crf

GOAL = 50
# Milliseconds of one process on one core: of an image, by labels; and of a batch of 20 grids.
PYDENSECRF_IMAGE = {21: 487.0, 4: 250.0}
PYDENSECRF_GRIDS = 149.0


def compared(setup: Setup, milliseconds: dict[str, float], theirs: float) -> Outcome:
    """The fastest way against pydensecrf's time."""
    ratio = theirs / min(milliseconds.values())
    times = ", ".join(f"{way} {value:.2f} ms" for way, value in milliseconds.items())
    text = f"{times}; {ratio:.0f} times as fast as pydensecrf's {theirs:.0f} ms"
    return Outcome(text, None if setup.small else ratio >= GOAL, milliseconds | {"ratio": ratio})


def images(setup: Setup, *, labels: int) -> Outcome:
    """Milliseconds of an image: one after the other, and all at once."""
    count = 1 if setup.small else 8
    case = full_size(count, labels)
    pixels = torch.from_numpy(case.images).to(setup.device)
    unary = torch.from_numpy(case.unary).to(setup.device)
    params = PARAMS | {"backend": "torch"}
    at_once = DenseCRFGrid(**params)
    shown = pixels.permute(0, 3, 1, 2).contiguous()
    ways = {
        "one by one": lambda: dense_crf(list(pixels), list(unary), params),
        f"{count} at once": lambda: at_once(shown, unary),
    }
    times = {way: 1000 * setup.seconds(call, 5, 2) / count for way, call in ways.items()}
    return compared(setup, times, PYDENSECRF_IMAGE[labels])


def batch(setup: Setup) -> Outcome:
    """Milliseconds of a training step's grids."""
    case = grids()
    shown = torch.from_numpy(case.images).to(setup.device).permute(0, 3, 1, 2).contiguous()
    unary = torch.from_numpy(case.unary).to(setup.device)
    crf = DenseCRFGrid(**GRID_PARAMS, backend="torch")
    times = {"20 at once": 1000 * setup.seconds(lambda: crf(shown, unary))}
    return compared(setup, times, PYDENSECRF_GRIDS)


ROWS = (
    Row("CRF, 375 × 500, 21 labels, an image", f"≥ {GOAL} times", partial(images, labels=21)),
    Row("CRF, 375 × 500, 4 labels, an image", f"≥ {GOAL} times", partial(images, labels=4)),
    Row("CRF of 20 grids, 21 labels", f"≥ {GOAL} times", batch),
)
