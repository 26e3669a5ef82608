"""Safetensors files: a JSON header and raw numbers, so nothing in them can be executed."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from seedbed.formats.weights.reading import reader


@reader("safetensors file", SafetensorError, NotImplementedError)
def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a file under its names, as contiguous float32 on the CPU.

    Raises UserError for a file that is missing, damaged or of another format.
    """
    # A copy, for the library's tensors live on the file.
    return {
        name: value.to(torch.float32, copy=True).contiguous()
        for name, value in load_file(path).items()
    }
