"""Checkpoints, from which an interrupted training continues."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from seedbed.runtime.atomic import atomic
from seedbed.runtime.queue_lock import QueueLock


class Checkpoint:
    """The state of an unfinished training, in a file beside the one that it will write.

    No rule declares the file, so Snakemake keeps it when the job fails. A checkpoint with another
    digest (`training_digest`) belongs to another training and is ignored. The parts that it saves
    have the methods `state_dict` and `load_state_dict`, as torch's modules.
    """

    def __init__(self, target: Path, digest: str) -> None:
        self.path = target.with_name(target.name + ".checkpoint")
        self.digest = digest

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Let one process at a time run this training; a later one waits until it has ended.

        On success the checkpoint is removed, unless another process waits (a new run, while a
        process of a killed one is still training): that process then continues from the checkpoint
        instead of starting again.
        """
        lock = QueueLock(self.path.with_suffix(".lock"))
        with lock.hold():
            yield
            if not lock.has_waiters():
                self.path.unlink(missing_ok=True)

    def save(self, step: int, parts: Mapping[str, Any]) -> None:
        """Save the states of the parts after `step` iterations, replacing the file atomically."""
        states = {name: part.state_dict() for name, part in parts.items()}
        with atomic(self.path) as path:
            torch.save({"digest": self.digest, "step": step, **states}, path)

    def restore(self, parts: Mapping[str, Any]) -> int:
        """Restore the parts and return the number of iterations done; 0 without a checkpoint."""
        if (state := self.load()) is None:
            return 0
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return state["step"]

    def load(self) -> dict[str, Any] | None:
        """The saved state; None if there is none, it is damaged or of another training."""
        if not self.path.exists():
            return None
        try:
            state = torch.load(io.BytesIO(self.path.read_bytes()), weights_only=True)
        except Exception:  # torch raises many kinds for a damaged file
            return None
        matches = isinstance(state, dict) and state.get("digest") == self.digest
        return state if matches else None


def training_digest(settings: str, code: str, inputs: Iterable[Path]) -> str:
    """SHA-256 of a training's settings (JSON), its code's digest and its input files' contents."""
    total = hashlib.sha256(f"{settings} {code}".encode())
    for path in inputs:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
