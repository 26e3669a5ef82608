"""Worker processes: results in the order of the items, whatever the number of workers."""

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sized
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
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


def available_cpus() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0))


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Results of `function` in the order of `items`, worked on by forked processes.

    Each worker computes on one thread, so that a result does not depend on their number. At most
    four items a worker are under way: results wait in memory no longer than that. Shows progress,
    of results. Raises UserError if a worker dies; workers end with this process, however it ends.
    """
    torch.set_num_threads(1)  # before the fork: a child of a threaded OpenMP parent may hang
    workers = min(workers, available_cpus())
    results = map(function, items) if workers <= 1 else _forked_map(function, items, workers)
    yield from progress(results, total=len(items) if isinstance(items, Sized) else None)


def _forked_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    fork = get_context("fork")  # workers inherit the function: it need not be picklable
    seats, begun = fork.Value("q", 0), fork.RawArray("q", 2 * workers)
    others = set(active_children())
    processes: set[BaseProcess] = set()
    under_way: deque = deque()
    try:
        with ProcessPoolExecutor(workers, fork, _begin, (function, seats, begun)) as pool:
            for number, item in enumerate(items):
                under_way.append((number, item, pool.submit(_call, number, item)))
                processes = processes or set(active_children()) - others  # all fork at once
                if len(under_way) >= 4 * workers:
                    yield _first_result(under_way)
            while under_way:
                yield _first_result(under_way)
    except BrokenProcessPool:
        unfinished = {number: item for number, item, _ in under_way}
        numbers = dict(zip(begun[::2], begun[1::2], strict=True))
        worked_on = {pid: unfinished.get(number) for pid, number in numbers.items()}
        raise UserError(_death(processes, worked_on)) from None


def _first_result(under_way: deque) -> Any:  # noqa: ANN401 - whatever the function gives
    """The first item's result; the item is under way until it is there."""
    result = under_way[0][-1].result()
    under_way.popleft()
    return result


def _death(processes: Iterable[BaseProcess], worked_on: Mapping[int, object]) -> str:
    """Say which worker ended by itself, at what and why; the pool has ended the others since."""
    by_itself = [p for p in processes if p.exitcode not in (0, -signal.SIGTERM)]
    # Those that the pool has ended died of SIGTERM too, or came to their end: status 0 tells least.
    dead = by_itself or [p for p in processes if p.exitcode] or list(processes)
    found = [worked_on[p.pid] for p in dead if worked_on.get(p.pid) is not None]
    names = ", ".join(str(getattr(item, "id", item)) for item in found)
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
        "mend that image or take it out of the data"
    )


_function: Callable[[Any], Any]
_begun: Any
_seat: int


def _begin(function: Callable[[Any], Any], seats: Any, begun: Any) -> None:  # noqa: ANN401
    """Begin a worker: what it calls, and where it writes its pid and the item it is at."""
    global _function, _begun, _seat
    # The pool ends what is left by SIGTERM when one dies, and waits: a handler from before the fork
    # must not keep a worker alive that hangs on a lock of the dead one.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_follow, daemon=True).start()
    with seats.get_lock():
        _seat = seats.value
        seats.value += 1
    _function, _begun = function, begun
    _begun[2 * _seat : 2 * _seat + 2] = os.getpid(), -1


def _follow() -> None:
    """End with the parent: else a worker would wait for ever, and whoever reads its output too."""
    parent_process().join()
    os._exit(1)


def _call(number: int, item: Any) -> Any:  # noqa: ANN401 - whatever the function takes and gives
    _begun[2 * _seat + 1] = number
    return _function(item)


AHEAD = 2  # results that a GPU has ready or under way while the caller writes one


def device_map(
    read: Callable[[Item], Source],
    compute: Callable[[Item, Source], Result],
    items: Collection[Item],
    device: torch.device,
    workers: int,
) -> Iterator[Result]:
    """Results of `compute(item, read(item))` in the order of `items`.

    On the CPU each worker process does both, as in `ordered_map`. A GPU belongs to this process
    alone: the workers read ahead, one thread computes, and the caller writes what came before. Each
    item is computed by itself, so that its result does not depend on which others there are.

    Raises UserError if the GPU's memory does not hold what an item needs.
    """
    if device.type == "cpu":
        yield from ordered_map(lambda item: compute(item, read(item)), items, workers)
        return
    under_way: deque = deque()
    with ThreadPoolExecutor(1) as gpu:
        for item, source in zip(items, ordered_map(read, items, workers), strict=True):
            under_way.append(gpu.submit(_within_memory, compute, item, source))
            if len(under_way) > AHEAD:
                yield under_way.popleft().result()
        while under_way:
            yield under_way.popleft().result()


def _within_memory(compute: Callable[[Item, Source], Result], item: Item, source: Source) -> Result:
    try:
        return compute(item, source)
    except torch.OutOfMemoryError as error:
        reason = str(error).partition(". GPU")[0]
        raise UserError(
            f"{reason}: one image at its largest scale is too much for the GPU; set smaller scales,"
            " a smaller size, or run.device: cpu"
        ) from error
