"""A file lock whose holder can see whether other processes wait for it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from os.path import samestat
from pathlib import Path
from typing import IO

from seedbed.runtime.file_lock import try_lock


class QueueLock:
    """An exclusive lock on the file `path`, with a second file, the queue, for those who wait.

    A waiting process holds a shared lock on the queue, so the queue can be locked exclusively
    only if nobody waits. The kernel releases the locks of a process that ends, however it ends.
    Both files are removed by the last process. On a disk without locks nobody waits (`try_lock`).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.queue = path.with_suffix(".queue")

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Wait for the lock, saying so on stdout, and hold it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with self.path.open("w") as file:
                self._acquire(file)
                if not self._is_current(file):
                    continue  # the previous holder removed the file: lock the new one
                try:
                    yield
                finally:
                    if not self.has_waiters():
                        self.path.unlink(missing_ok=True)
                return

    def has_waiters(self) -> bool:
        """Whether another process waits for the lock; if none does, the queue is removed."""
        with suppress(OSError), self.queue.open("w") as queue:  # OSError: on a full disk
            if not try_lock(queue.fileno(), self.queue, wait=False):
                return True
            self.queue.unlink()
        return False

    def _acquire(self, file: IO[str]) -> None:
        if try_lock(file.fileno(), self.path, wait=False):
            return
        print(f"{self.path}: waits for another process that trains this", flush=True)
        with self.queue.open("w") as queue:
            try_lock(queue.fileno(), self.queue, wait=True, shared=True)
            try_lock(file.fileno(), self.path, wait=True)

    def _is_current(self, file: IO[str]) -> bool:
        """Whether the open file is still the one at `path`."""
        return self.path.exists() and samestat(self.path.stat(), os.fstat(file.fileno()))
