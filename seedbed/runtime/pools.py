"""Worker processes and a GPU's thread: results in the order of the items.

A result does not depend on the number of workers. If a worker dies, the error says how, and at
which item.
"""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sized
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress

Item = TypeVar("Item")
Source = TypeVar("Source")
Result = TypeVar("Result")
ITEMS_PER_WORKER = 4  # submitted at a time, finished or not
GPU_RESULTS_AHEAD = 2  # computed or under way while the caller uses one


def available_cpus() -> int:
    """Number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Results of `function` in the order of `items`, computed by forked processes; shows progress.

    Each worker computes on one thread, so that a result does not depend on their number. At most
    ITEMS_PER_WORKER items a worker are taken before the caller asks for the next result, which
    bounds the memory. Workers end with this process, however it ends.

    Args:
        function: need not be picklable; its results must be.
        items: may be unbounded; each must be picklable.
        workers: 1 computes in this process; never more than there are CPUs.

    Raises:
        UserError: a worker died.

    """
    torch.set_num_threads(1)  # before the fork: a child of a threaded OpenMP parent may hang
    workers = min(workers, available_cpus())
    results = map(function, items) if workers <= 1 else _forked_map(function, items, workers)
    yield from progress(results, total=len(items) if isinstance(items, Sized) else None)


def _forked_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    fork = get_context("fork")  # workers inherit the function, which need not be picklable
    limit = ITEMS_PER_WORKER * workers
    pids = fork.RawArray("q", limit)  # of the worker that began item k, at k % limit; else 0
    pending: deque[tuple[int, Item, Future]] = deque()
    other_children = set(active_children())
    processes: set[BaseProcess] = set()
    try:
        with ProcessPoolExecutor(workers, fork, _start_worker, (function, pids)) as pool:
            for number, item in enumerate(items):
                pids[number % limit] = 0
                pending.append((number, item, pool.submit(_work, number, item)))
                processes = processes or set(active_children()) - other_children  # start together
                if len(pending) == limit:
                    yield _first_result(pending)
            while pending:
                yield _first_result(pending)
    except BrokenProcessPool:
        last_items = {pids[number % limit]: item for number, item, _ in pending}
        raise UserError(_describe_death(_dead_workers(processes), last_items)) from None


def _first_result(pending: deque[tuple[int, Item, Future]]) -> Any:  # noqa: ANN401
    """Wait for the first item's result, then take it off; if its worker dies, it stays."""
    result = pending[0][-1].result()
    pending.popleft()
    return result


_function: Callable[[Any], Any]
_pids: Any


def _start_worker(function: Callable[[Any], Any], pids: Any) -> None:  # noqa: ANN401
    """Prepare a worker process."""
    global _function, _pids
    _function, _pids = function, pids
    # When a worker dies, the pool ends the others by SIGTERM and waits for them. A handler from
    # before the fork must not keep one alive that waits for a lock of the dead one.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """End with the parent; else a worker, and whoever reads its output, would wait for ever."""
    parent_process().join()
    os._exit(1)


def _work(number: int, item: Any) -> Any:  # noqa: ANN401
    _pids[number % len(_pids)] = os.getpid()
    return _function(item)


def _dead_workers(processes: Collection[BaseProcess]) -> list[BaseProcess]:
    """Find the workers that died first; the pool ended the others by SIGTERM or waited for them."""
    failed = [process for process in processes if process.exitcode]
    not_terminated = [process for process in failed if process.exitcode != -signal.SIGTERM]
    return not_terminated or failed or list(processes)


def _describe_death(dead: list[BaseProcess], last_items: Mapping[int, object]) -> str:
    """Say in one line how workers died, at which items (by pid), and what to do."""
    items = [last_items[process.pid] for process in dead if process.pid in last_items]
    names = ", ".join(str(getattr(item, "id", item)) for item in items)
    at_work = f" at work on {names}" if names else ""
    code = dead[0].exitcode
    if code == -signal.SIGKILL:
        return (
            f"a worker process was killed (SIGKILL){at_work}, as the system does when memory is "
            "short: lower --cores or raise run.shards, and run the same command again"
        )
    how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended with status {code}"
    return (
        f"a worker process {how}{at_work}: run the same command again; where it dies again, "
        "correct that image or take it out of the data"
    )


def device_map(
    read: Callable[[Item], Source],
    compute: Callable[[Item, Source], Result],
    items: Collection[Item],
    device: torch.device,
    workers: int,
) -> Iterator[Result]:
    """Results of `compute(item, read(item))` in the order of `items`.

    On the CPU each worker process does both, as in `ordered_map`. On a GPU, which belongs to this
    process, the workers read ahead, one thread computes, and the caller uses what came before. Each
    item is computed by itself, so that its result does not depend on the others.

    Raises:
        UserError: a worker died, or the GPU's memory does not hold what an item needs.

    """
    if device.type == "cpu":
        yield from ordered_map(lambda item: compute(item, read(item)), items, workers)
        return
    pending: deque[Future] = deque()
    with ThreadPoolExecutor(1) as gpu:
        for item, source in zip(items, ordered_map(read, items, workers), strict=True):
            pending.append(gpu.submit(_compute_on_gpu, compute, item, source))
            if len(pending) > GPU_RESULTS_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _compute_on_gpu(
    compute: Callable[[Item, Source], Result], item: Item, source: Source
) -> Result:
    try:
        return compute(item, source)
    except torch.OutOfMemoryError as error:
        reason = str(error).partition(". GPU")[0]
        raise UserError(
            f"{reason}: one image at its largest scale is too much for the GPU; set smaller scales,"
            " a smaller size, or run.device: cpu"
        ) from error
