"""`device_map`: reading in worker processes, computing on one device."""

import os
import threading
import time

import pytest
import torch

from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import device_map

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_on_a_gpu_workers_read_and_one_thread_of_this_process_computes(monkeypatch):
    monkeypatch.setattr("seedbed.runtime.pools.available_cpus", lambda: 2)

    def read(item):
        return os.getpid(), -item

    def compute(item, source):
        time.sleep(0.02 * (item == 0))
        return *source, item, threading.get_ident(), os.getpid()

    for kind in ("cuda", "cpu"):
        found = list(device_map(read, compute, range(30), torch.device(kind), 2))
        assert [facts[1:3] for facts in found] == [(-item, item) for item in range(30)]
        readers, threads, computers = ({facts[part] for facts in found} for part in (0, 3, 4))
        assert os.getpid() not in readers
        if kind == "cuda":
            assert computers == {os.getpid()} and len(threads) == 1
            assert threads != {threading.get_ident()}
        else:
            assert computers == readers


def test_the_gpu_works_on_while_the_caller_writes_but_not_far_ahead():
    begun = []
    results = device_map(lambda item: item, lambda item, _: begun.append(item), range(50), GPU, 1)
    next(results)
    deadline = time.monotonic() + 30
    while len(begun) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)  # for a fourth, which would be one too many
    assert begun == [0, 1, 2]
    results.close()


@pytest.mark.parametrize("device", [CPU, GPU])
def test_what_cannot_be_read_or_computed_ends_it_after_what_came_before(device):
    def read(item):
        if item == 4:
            raise UserError("image 4 is broken: correct it")
        return item

    seen = []
    with pytest.raises(UserError, match=r"^image 4 is broken: correct it$"):
        seen.extend(device_map(read, lambda item, _: item, range(9), device, 1))
    assert seen == [0, 1, 2, 3][: len(seen)]
    with pytest.raises(ZeroDivisionError):
        list(device_map(read, lambda item, _: 1 // (item - 2), range(4), device, 1))


def test_a_gpu_without_memory_left_is_one_line_with_a_remedy():
    def compute(item, source):
        raise torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8 GiB"
        )

    with pytest.raises(UserError) as error:
        list(device_map(lambda item: item, compute, [0], GPU, 1))
    message = str(error.value)
    assert message.startswith("CUDA out of memory. Tried to allocate 2.00 GiB: ")
    assert "smaller scales" in message and "\n" not in message and "capacity" not in message
