"""Temporary files and folders beside what they will become, and what killed processes left of them.

A temporary is locked as long as a process that writes it lives: the lock goes with the process,
however it ends, so whatever has a temporary's name and no lock is nobody's. Its name says which
machine it was made on, because not every shared disk shows locks to the others.
"""

import fcntl
import functools
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MACHINE = hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:6]
NAME = re.compile(rf"\..+\.{MACHINE}[0-9a-f]{{8}}(\.\w+)?")


def beside(path: Path) -> Path:
    """Name a hidden neighbour of `path` with the same suffix."""
    return path.with_name(f".{path.stem}.{MACHINE}{secrets.token_hex(4)}{path.suffix}")


@contextmanager
def held(temporary: Path, make: Callable[[], None]) -> Iterator[None]:
    """Make a temporary file or folder and lock it, where the file system can lock it."""
    handle = _made(temporary, make)
    try:
        yield
    finally:
        os.close(handle)


def _made(temporary: Path, make: Callable[[], None]) -> int:
    while True:
        make()
        with suppress(FileNotFoundError):  # swept before it was locked: once more
            handle = _opened(temporary)
            with suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
            if temporary.exists():
                return handle
            os.close(handle)


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)


@functools.cache
def sweep(folder: Path) -> None:
    """Remove, once in a process, the temporaries in a folder that no living process writes."""
    for path in folder.iterdir():
        if NAME.fullmatch(path.name):
            with suppress(OSError):
                _remove_if_free(path)


def _remove_if_free(path: Path) -> None:
    """Remove a file or folder; OSError if it is locked or cannot be."""
    handle = _opened(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    finally:
        os.close(handle)
