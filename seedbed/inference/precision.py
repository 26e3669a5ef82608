"""The precision that networks compute in."""

import contextlib

import torch


def mixed_precision(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Bfloat16 autocast on a GPU that has it, nothing elsewhere."""
    on = device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast("cuda", torch.bfloat16) if on else contextlib.nullcontext()
