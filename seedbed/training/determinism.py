"""Trainings that give the same bytes on every run."""

import os

import torch


def be_deterministic(deterministic: bool) -> None:
    """Make CUDA give the same bytes on every run (the CPU does so with equal threads)."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
