"""Find where the host would wait for a GPU, without one: on tensors of the device `meta`.

They have shapes and no values, so that whatever reads one back (`item`, `bool`, `nonzero`, `.cpu`)
raises an error. `RefuseCopies` adds what copies numbers from the host, which waits as well.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

META = torch.device("meta")
FROM_NUMBERS = {torch.tensor, torch.as_tensor, Tensor.new_tensor}


class RefuseCopies(TorchFunctionMode):
    """AssertionError for an operation that puts numbers of the host into a tensor on `meta`."""

    def __torch_function__(
        self, function: Callable, types: object, arguments: tuple = (), named: dict | None = None
    ) -> Any:
        """Call the function, and judge it by its result and its arguments."""
        result = function(*arguments, **(named or {}))
        if function is Tensor.__setitem__:
            target, index, value = arguments
            scattered = isinstance(index, Tensor) or (
                isinstance(index, tuple) and any(isinstance(i, Tensor) for i in index)
            )
            assert not (on_meta(target) and scattered and not isinstance(value, Tensor)), function
        elif function in FROM_NUMBERS:
            assert not on_meta(result), function
        elif function is Tensor.to and on_meta(result) and not on_meta(arguments[0]):
            assert (named or {}).get("non_blocking"), function
        elif function is torch.where and on_meta(result):
            assert all(isinstance(argument, Tensor) for argument in arguments), function
        return result


class CountReads(TorchFunctionMode):
    """Counts how often values of tensors are read, each of which waits for a GPU."""

    READS = frozenset(
        {Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.__bool__, Tensor.__float__}
    )

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, function: Callable, types: object, arguments: tuple = (), named: dict | None = None
    ) -> Any:
        """Call the function, and count it if it reads."""
        self.count += function in self.READS
        return function(*arguments, **(named or {}))


def on_meta(value: object) -> bool:
    """Whether this is a tensor on the device `meta`."""
    return isinstance(value, Tensor) and value.device == META
