import fcntl
import os
import time
from contextlib import contextmanager
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from seedbed.runtime import devices as device
from seedbed.runtime import gpu_locks as device_lock
from seedbed.runtime.devices import pick_device as pick
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import available_cpus, ordered_map
from seedbed.training.determinism import set_deterministic
from seedbed.training.processes import ProcessGroup


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr("seedbed.runtime.pools.available_cpus", lambda: 2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_keep_the_order_of_the_items(workers):
    offset = 100  # a closure: nothing that could be pickled

    def slow_at_first(item):
        time.sleep(0.05 if item == 0 else 0)
        return item + offset

    results = ordered_map(slow_at_first, iter(range(20)), workers)
    assert list(results) == list(range(100, 120))
    assert list(ordered_map(lambda item: -item, [], workers)) == []


@pytest.mark.parametrize(("workers", "elsewhere"), [(1, False), (2, True)])
def test_workers_are_other_processes_on_one_thread_each(workers, elsewhere):
    facts = list(ordered_map(lambda _: (os.getpid(), torch.get_num_threads()), [0] * 4, workers))
    assert all((pid != os.getpid()) == elsewhere and threads == 1 for pid, threads in facts)


def test_no_more_workers_than_cpus(monkeypatch):
    monkeypatch.setattr("seedbed.runtime.pools.available_cpus", lambda: 1)
    assert set(ordered_map(lambda _: os.getpid(), [0, 0], 8)) == {os.getpid()}


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_users_come_through(workers):
    def fail_at_three(item):
        if item == 3:
            raise UserError("file 3 is broken: correct it")
        return item

    results = []
    with pytest.raises(UserError, match=r"^file 3 is broken: correct it$"):
        for result in ordered_map(fail_at_three, range(9), workers):
            results.append(result)
    assert results == [0, 1, 2]


def test_items_are_taken_as_results_are_asked_for(monkeypatch):
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = ordered_map(lambda item: item, items(), 2)
    assert next(results) == 0
    assert len(taken) <= 8
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("items", "total"), [([3, 4, 5], 3), ({3: 0, 4: 0, 5: 0}.items(), 3)])
def test_progress_counts_results(monkeypatch, workers, items, total):
    shown = []

    def record(results, *, total):
        shown.append(total)
        for result in results:
            shown.append(result)
            yield result

    monkeypatch.setattr("seedbed.runtime.pools.progress", record)
    results = ordered_map(lambda item: [item], items, workers)
    assert next(results) == [next(iter(items))]
    assert shown == [total, [next(iter(items))]]  # though all items have been submitted
    assert len(list(results)) == 2 and len(shown) == 4


def test_progress_of_an_unknown_total(monkeypatch):
    shown = []
    monkeypatch.setattr(
        "seedbed.runtime.pools.progress", lambda results, total: [shown.append(total)]
    )
    list(ordered_map(lambda item: item, iter([1]), 1))
    assert shown == [None]


@pytest.fixture
def pretend_gpus(monkeypatch, tmp_path):
    """CUDA shows two devices; the list notes which one is made current."""
    current = []
    hardware = [SimpleNamespace(uuid="4f-a"), SimpleNamespace(uuid="4f-b")]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", hardware.__getitem__)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    monkeypatch.setattr(device, "lock_device", partial(device_lock.lock_device, folder=tmp_path))
    monkeypatch.setattr(
        device, "selection_lock", partial(device_lock.selection_lock, folder=tmp_path)
    )
    device._lock_gpu.cache_clear()
    yield current
    device._lock_gpu.cache_clear()
    device_lock._release_all()


def held(path):
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_without_a_gpu_the_device_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick("cpu") == pick("auto") == torch.device("cpu")


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_gpu_is_taken_once_and_kept(pretend_gpus, tmp_path, name):
    assert pick(name) == pick(name) == torch.device("cuda", 0)
    assert pretend_gpus == [torch.device("cuda", 0)] * 2
    assert held(tmp_path / "4f-a.lock") and not held(tmp_path / "selection.lock")
    assert not (tmp_path / "4f-b.lock").exists()


def test_the_gpu_of_another_is_left_alone(pretend_gpus, tmp_path):
    with (tmp_path / "4f-a.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert pick("auto") == torch.device("cuda", 1)


def test_who_wants_the_cpu_or_only_asks_takes_no_gpu(pretend_gpus, tmp_path):
    assert pick("cpu") == torch.device("cpu")
    assert device.kind_of_device("auto") == torch.device("cuda")
    assert not list(tmp_path.iterdir())


def test_a_team_takes_turns_together(pretend_gpus, monkeypatch, tmp_path):
    waits = []
    monkeypatch.setattr(
        ProcessGroup, "barrier", lambda group: waits.append(held(tmp_path / "selection.lock"))
    )
    assert pick("cuda", ProcessGroup(0, 2)) == torch.device("cuda", 0)
    assert waits == [True, True]  # until the others have theirs
    device._lock_gpu.cache_clear()

    @contextmanager
    def no_lock():
        raise AssertionError
        yield

    monkeypatch.setattr(device, "selection_lock", no_lock)
    assert pick("cuda", ProcessGroup(1, 2)) == torch.device("cuda", 1)
    with pytest.raises(UserError, match=r"run\.training_processes: 3, but 2 GPU\(s\) visible"):
        pick("cuda", ProcessGroup(1, 3))


def test_cuda_asked_for_and_absent(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"run\.device: cuda: no CUDA device"):
        pick("cuda")


def test_determinism_is_switched_on_and_off(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    before = torch.backends.cudnn.benchmark
    for on in (True, False):
        set_deterministic(on)
        assert torch.are_deterministic_algorithms_enabled() == on
        assert torch.backends.cudnn.deterministic == on
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    del os.environ["CUBLAS_WORKSPACE_CONFIG"]
    set_deterministic(False)
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    set_deterministic(True)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    set_deterministic(False)
    torch.backends.cudnn.benchmark = before


def test_available_cpus_are_those_that_the_process_may_use(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 6})
    assert available_cpus() == 3
