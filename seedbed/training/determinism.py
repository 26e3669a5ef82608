"""Trainings that give the same bytes on every run."""

import os

import torch


def set_deterministic(deterministic: bool) -> None:
    """Choose reproducible or faster algorithms on CUDA.

    On the CPU equal numbers of threads always give equal bytes.
    """
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
