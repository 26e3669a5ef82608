"""One process a GPU: locks that the kernel releases when their holder dies, however it does."""

import fcntl
import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from seedbed.runtime.errors import UserError

# Not tempfile's folder: TMPDIR may differ from job to job, and their locks would never meet.
FOLDER = Path("/tmp", f"seedbed-{os.getuid()}")
PAUSE_SECONDS = 1.0

_held: list[int] = []


def take_device(devices: Sequence[str], folder: Path = FOLDER) -> int:
    """Position of the first device that no other process holds; it is ours until we end.

    Waits while all are held, and says so once on stderr. A device may be taken only once, by this
    process too.

    Args:
        devices: names of the visible devices that say which piece of hardware each is (UUIDs).
        folder: of the lock files, the same for all processes of the machine; made if need be.

    Raises:
        UserError: if the folder belongs to somebody else.

    """
    waits = False
    while True:
        for position, name in enumerate(devices):
            lock = _open(folder, f"{name}.lock")
            if _locked(lock, wait=False):
                _held.append(lock)
                return position
            os.close(lock)
        if not waits:
            many = "the GPU is" if len(devices) == 1 else f"all {len(devices)} GPUs are"
            print(f"{many} in use by other jobs: waiting", file=sys.stderr, flush=True)
        waits = True
        time.sleep(PAUSE_SECONDS)


@contextmanager
def turn(folder: Path = FOLDER) -> Iterator[None]:
    """Only one job at a time looks for devices.

    Else two jobs of several processes could each hold what the other waits for.
    """
    lock = _open(folder, "turn.lock")
    try:
        if not _locked(lock, wait=False):
            print("other jobs wait for a GPU too: waiting", file=sys.stderr, flush=True)
            _locked(lock, wait=True)
        yield
    finally:
        os.close(lock)


def _locked(lock: int, *, wait: bool) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _open(folder: Path, name: str) -> int:
    """A lock file in a folder of our own: /tmp is everybody's, and a link could lead elsewhere."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise UserError(f"{folder}: not a folder of this user; have it removed")
    return os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _let_go() -> None:
    """A forked child shares the lock: if it outlived its parent, so would the lock."""
    for lock in _held:
        os.close(lock)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)
