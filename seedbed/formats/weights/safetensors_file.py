"""Reads safetensors files."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from seedbed.formats.weights.reading import reader


@reader("safetensors file", SafetensorError, NotImplementedError)
def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors by name as contiguous float32 on the CPU.

    Raises:
        UserError: if the file is missing, damaged or of another format.

    """
    # Copied, because the library's tensors are views of the mapped file.
    return {
        name: value.to(torch.float32, copy=True).contiguous()
        for name, value in load_file(path).items()
    }
