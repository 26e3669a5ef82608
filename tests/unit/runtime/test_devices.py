"""The choice of a device, and what is made ready for it."""

import torch

from seedbed.runtime import devices


def test_the_vector_functions_are_first_called_by_one_thread(monkeypatch):
    """Elements of a later call may be computed by several threads; see the function."""
    calls = []
    monkeypatch.setattr(devices, "VECTOR_FUNCTIONS", (calls.append, calls.append))
    devices.initialise_vector_math.cache_clear()
    assert devices.pick_device("cpu") == torch.device("cpu")
    assert [(tensor.dtype, tensor.numel()) for tensor in calls] == [
        *[(torch.float32, 1)] * 2,
        *[(torch.float64, 1)] * 2,
    ]
    devices.pick_device("cpu")
    assert len(calls) == 4
    devices.initialise_vector_math.cache_clear()
