"""Reads safetensors files."""

from pathlib import Path

import torch
from torch import Tensor

from seedbed.formats.weights.reading import reader


@reader("safetensors file", NotImplementedError)
def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors by name as contiguous float32 on the CPU.

    Raises:
        UserError: if the file is missing, damaged or of another format.

    """
    # Imported here, because networks without weights are used where this is not installed.
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error
    # Copied, because the library's tensors are views of the mapped file.
    return {
        name: value.to(torch.float32, copy=True).contiguous() for name, value in tensors.items()
    }
