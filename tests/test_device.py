import os
import time

import pytest
import torch

from seedbed import device
from seedbed.device import available_cpus, be_deterministic, mixed_precision, ordered_map
from seedbed.device import pick_device as pick
from seedbed.errors import UserError


@pytest.fixture(autouse=True)
def two_cpus(monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(device, "available_cpus", lambda: 2)
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
    monkeypatch.setattr(device, "available_cpus", lambda: 1)
    assert set(ordered_map(lambda _: os.getpid(), [0, 0], 8)) == {os.getpid()}


@pytest.mark.parametrize("workers", [1, 2])
def test_errors_of_users_come_through(workers):
    def fail_at_three(item):
        if item == 3:
            raise UserError("file 3 is broken: mend it")
        return item

    seen = []
    with pytest.raises(UserError, match=r"^file 3 is broken: mend it$"):
        for result in ordered_map(fail_at_three, range(9), workers):
            seen.append(result)
    assert seen == [0, 1, 2]


def test_items_are_taken_as_results_are(monkeypatch):
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

    monkeypatch.setattr(device, "progress", record)
    results = ordered_map(lambda item: [item], items, workers)
    assert next(results) == [next(iter(items))]
    assert shown == [total, [next(iter(items))]]  # though all of them have been handed out
    assert len(list(results)) == 2 and len(shown) == 4


def test_progress_of_a_number_unknown(monkeypatch):
    shown = []
    monkeypatch.setattr(device, "progress", lambda results, total: [shown.append(total)])
    list(ordered_map(lambda item: item, iter([1]), 1))
    assert shown == [None]


@pytest.mark.parametrize("visible", [False, True])
def test_pick_device(monkeypatch, visible):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: visible)
    assert pick("cpu") == torch.device("cpu")
    assert pick("auto") == torch.device("cuda" if visible else "cpu")


def test_cuda_asked_for_and_absent(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"run\.device: cuda: no CUDA device"):
        pick("cuda")


def test_no_mixed_precision_on_a_cpu():
    with mixed_precision(torch.device("cpu")):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_determinism_is_switched_on_and_off(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    before = torch.backends.cudnn.benchmark
    for on in (True, False):
        be_deterministic(on)
        assert torch.are_deterministic_algorithms_enabled() == on
        assert torch.backends.cudnn.deterministic == on
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
    torch.backends.cudnn.benchmark = before


def test_there_are_cpus():
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)
