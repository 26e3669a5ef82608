"""Device, precision, threads, and worker processes."""

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

import torch

from seedbed.errors import UserError
from seedbed.progress import progress

Item = TypeVar("Item")
Result = TypeVar("Result")


def pick_device(name: str) -> torch.device:
    """Device for "auto", "cpu" or "cuda"; UserError if CUDA is asked for and absent."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("run.device: cuda: no CUDA device is visible; set it to auto or cpu")
    return torch.device(name)


def be_deterministic(deterministic: bool) -> None:
    """Make CUDA give the same bytes on every run (the CPU does so with equal threads)."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic


def mixed_precision(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Bfloat16 autocast on a GPU that has it, nothing elsewhere."""
    on = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast("cuda", torch.bfloat16) if on else contextlib.nullcontext()


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Results of `function` in the order of `items`, worked on by forked processes.

    Each worker computes on one thread, so that a result does not depend on their number. At most
    four items a worker are under way: results wait in memory no longer than that. Shows progress,
    of results.
    """
    torch.set_num_threads(1)  # before the fork: a child of a threaded OpenMP parent may hang
    workers = min(workers, available_cpus())
    results = map(function, items) if workers <= 1 else _forked_map(function, items, workers)
    yield from progress(results, total=len(items) if isinstance(items, Sized) else None)


def _forked_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    fork = get_context("fork")  # workers inherit the function: it need not be picklable
    with ProcessPoolExecutor(workers, fork, initializer=_remember, initargs=(function,)) as pool:
        under_way: deque = deque()
        for item in items:
            under_way.append(pool.submit(_call, item))
            if len(under_way) >= 4 * workers:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


_function: Callable[[Any], Any]


def _remember(function: Callable[[Any], Any]) -> None:
    global _function
    _function = function


def _call(item: Any) -> Any:  # noqa: ANN401 - whatever the function takes and gives
    return _function(item)
