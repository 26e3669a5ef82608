"""What a row of the table is: what it gets and gives, and how time is taken on a device."""

import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch

SEED = 0


@dataclass(frozen=True)
class Setup:
    """Where the rows are computed, and how large.

    Attributes:
        device: of torch.
        small: sizes of a rehearsal: small networks and images, few turns.
        precision: "float32" or "bfloat16", of the networks that are timed.

    """

    device: torch.device
    small: bool
    precision: str

    def autocast(self, precision: str | None = None) -> AbstractContextManager[None]:
        """The context in which a network is computed, in this precision or the setup's own."""
        if (precision or self.precision) == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def synchronise(self) -> None:
        """Wait until the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def seconds(self, function: Callable[[], object], turns: int = 10, warm: int = 3) -> float:
        """Median time of a call, the device's work included, after calls that warm up."""
        turns, warm = (2, 1) if self.small else (turns, warm)
        times = []
        for turn in range(warm + turns):
            self.synchronise()
            start = time.perf_counter()
            function()
            self.synchronise()
            if turn >= warm:
                times.append(time.perf_counter() - start)
        return statistics.median(times)


@dataclass(frozen=True)
class Outcome:
    """What a row found.

    Attributes:
        text: the figures, to be read.
        ok: whether the goal is reached; None: it has none, or none that holds here.
        values: the figures, for the JSON file.

    """

    text: str
    ok: bool | None = None
    values: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        name: of what is checked or measured.
        goal: in words; "" for none.
        work: computes it; an exception costs this row alone.
        limit: seconds after which it is given up.

    """

    name: str
    goal: str
    work: Callable[[Setup], Outcome]
    limit: float = 60.0


def relative_difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Greatest difference, divided by the greatest value that is expected."""
    expected = expected.detach().double().cpu()
    difference = (found.detach().double().cpu() - expected).abs().max()
    return float(difference / expected.abs().max().clamp(min=1e-12))
