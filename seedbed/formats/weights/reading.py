"""What the readers of weight files share: mapping a file, making tensors, and error messages."""

import math
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from seedbed.runtime.errors import UserError

Reader = Callable[[Path], dict[str, Tensor]]
Name = TypeVar("Name")
Item = TypeVar("Item")
FAILURES = (ValueError, OverflowError, OSError)
MAX_AXES = 32  # of Caffe and MXNet; multiplying a million sizes takes hours


def reader(kind: str, *failures: type[Exception]) -> Callable[[Reader], Reader]:
    """Decorator of a reader that turns its exceptions into UserErrors of one line.

    A file without tensors is an error too.

    Args:
        kind: what the reader reads, in words.
        failures: exceptions of the reader's libraries beside ValueError, OverflowError, OSError.

    """

    def decorate(read: Reader) -> Reader:
        @wraps(read)
        def read_or_explain(path: Path) -> dict[str, Tensor]:
            try:
                tensors = read(Path(path))
            except UserError as error:
                raise UserError(_line(error)) from error
            except FileNotFoundError:
                raise UserError(f"weights {path} do not exist; check the name") from None
            except FAILURES + failures as error:
                raise UserError(
                    f"weights {path} are damaged, cut short or no {kind}: {_line(error)};"
                    " fetch them again"
                ) from error
            if not tensors:
                raise UserError(f"weights {path} hold no tensors; name a {kind} with weights")
            return tensors

        return read_or_explain

    return decorate


def _line(error: Exception) -> str:
    """An error's message in one line."""
    return " ".join(str(error).splitlines()) or type(error).__name__


def by_name(items: Iterable[tuple[Name, Item]]) -> dict[Name, Item]:
    """A dict of (name, item) pairs; raises ValueError if a name occurs twice."""
    named: dict[Name, Item] = {}
    for name, item in items:
        if name in named:
            raise ValueError(f"two tensors are called {name}")
        named[name] = item
    return named


def view(path: Path) -> memoryview:
    """A file mapped into memory; pages that are not accessed are never read."""
    with path.open("rb") as file:
        return memoryview(mmap(file.fileno(), 0, access=ACCESS_READ))


def cut(data: memoryview, offset: int, size: int) -> memoryview:
    """Bytes [offset, offset + size) of `data`; raises ValueError if they are not all there."""
    if offset + size > len(data):
        raise ValueError(f"{size} bytes at {offset}, the file ends at {len(data)}")
    return data[offset : offset + size]


def tensor(numbers: np.ndarray, shape: Sequence[int], order: str = "C") -> Tensor:
    """Copy numbers of any real type into a contiguous float32 tensor of `shape`.

    Raises ValueError if the type is not numeric, the shape has too many axes, or it does not fit
    the number of elements.
    """
    if numbers.dtype.kind not in "fiub":
        raise ValueError(f"an array of {numbers.dtype}")
    if len(shape) > MAX_AXES:
        raise ValueError(f"an array of {len(shape)} dimensions")
    if math.prod(shape) != numbers.size:
        raise ValueError(f"{numbers.size} numbers for the shape {tuple(shape)}")
    return torch.from_numpy(numbers.reshape(shape, order=order).astype(np.float32, order="C"))
