"""Reads untrusted pickles and `.npy` files without executing anything in them."""

import math
import pickle
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

from seedbed.formats.pickles.names import NUMBERS_AND_TEXT
from seedbed.formats.pickles.unpickler import Unpickler
from seedbed.runtime.errors import UserError

MAX_REASON = 200


def _read_npy(file: mmap, reader: type[Unpickler]) -> Any:  # noqa: ANN401 - any content
    shape, fortran, dtype = read_npy_header(file)
    if dtype.hasobject:
        array = reader(file).read_plain()
        return array[()] if array.ndim == 0 else array
    if dtype.kind not in NUMBERS_AND_TEXT:
        raise ValueError(f"an array of type {dtype}")
    data = file.read(math.prod(shape) * dtype.itemsize)
    return np.frombuffer(data, dtype).copy().reshape(shape, order="F" if fortran else "C")


def read_npy_header(file: IO[bytes] | mmap) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read a `.npy` header: shape, whether the array is in Fortran order, type.

    np.load is not used because it allocates whatever size the header claims. A broken header raises
    exceptions of any type.
    """
    version = np.lib.format.read_magic(file)
    reader = "read_array_header_1_0" if version == (1, 0) else "read_array_header_2_0"
    return getattr(np.lib.format, reader)(file)


def load(path: Path, reader: type[Unpickler] = Unpickler) -> Any:  # noqa: ANN401 - any content
    """Read a `.npy` file or a pickle (Python 2 or 3) of arrays, numbers, text and containers.

    A 0-d object array is replaced by its content; an object with several references is copied.
    Nothing that the file names is imported or called. A `reader` may accept further types.

    Raises:
        UserError: if the file is missing or broken, needs any other type, or would unpack to much
            more than its size.

    """
    try:
        with (
            Path(path).open("rb") as file,
            mmap(file.fileno(), 0, access=ACCESS_READ) as data,  # reads never go beyond its end
        ):
            start = data[: len(MAGIC_PREFIX)]
            is_pickle = start.startswith(pickle.PROTO) or Path(path).suffix != ".npy"
            is_npy = start == MAGIC_PREFIX or not is_pickle
            return _read_npy(data, reader) if is_npy else reader(data).read_plain()
    except FileNotFoundError:
        raise UserError(f"{path} is missing: put it there, or correct its name") from None
    except Exception as error:  # a broken or malicious pickle raises exceptions of any type
        raise UserError(
            f"cannot read {path}: it holds {str(error)[:MAX_REASON]}, and only arrays and "
            "plain containers are read from such files; write it again from those"
        ) from error
