"""Numerical precision of networks."""

import contextlib

import torch


def mixed_precision(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Autocast to bfloat16 on GPUs that support it; a null context otherwise."""
    supported = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast("cuda", torch.bfloat16) if supported else contextlib.nullcontext()
