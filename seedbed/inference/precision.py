"""Numerical precision of the networks' operations."""

import contextlib
import platform
from typing import Literal

import torch

from seedbed.runtime.errors import warn_once

Precision = Literal["float32", "bfloat16"]


def autocast(
    device: torch.device, precision: Precision
) -> contextlib.AbstractContextManager[object]:
    """The context in which a network computes with the given precision.

    "bfloat16" is PyTorch's automatic mixed precision: convolutions and matrix products in bfloat16,
    what needs more (losses, norms, softmax) in float32; weights stay in float32.
    """
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def warn_slow_bfloat16(device: torch.device, precision: Precision) -> None:
    """Warn that bfloat16 is slow on a device that has no instructions for it."""
    if precision == "bfloat16" and not has_bfloat16(device):
        warn_once(
            f"precision: bfloat16: this {'GPU' if device.type == 'cuda' else 'CPU'} computes it"
            " without instructions of its own: same results, but slower than float32"
        )


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for bfloat16; CPUs other than x86 count as having them."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    x86 = platform.machine().lower() in ("x86_64", "amd64")  # of others PyTorch says nothing
    return not x86 or torch.cpu._is_avx512_bf16_supported()
