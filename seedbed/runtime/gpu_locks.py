"""One process per GPU: file locks, which the kernel releases when their process ends."""

import errno
import os
import stat
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from seedbed.runtime.errors import UserError, warn_once
from seedbed.runtime.file_lock import try_lock

# Not tempfile's folder: TMPDIR may differ between jobs, whose locks would then never meet.
FOLDER = Path("/tmp", f"seedbed-{os.getuid()}")
POLL_SECONDS = 1.0
# Why no lock file can be made there, as in a read-only container.
NOT_WRITABLE = (errno.EROFS, errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)

_locks: list[int] = []  # file descriptors of the locks of this process


def lock_device(devices: Sequence[str], folder: Path = FOLDER) -> int:
    """Lock the first device that nobody has locked, until this process ends; return its position.

    Waits while all are locked, and says so once on stderr. A device is locked only once, by this
    process too.

    Args:
        devices: names of the visible devices that identify the hardware (UUIDs).
        folder: of the lock files, the same for all processes of the machine; made if missing.

    Raises:
        UserError: if the folder belongs to another user.

    """
    waiting = False
    while True:
        for position, name in enumerate(devices):
            if (lock := _open(folder, f"{name}.lock")) is None:
                return position
            if try_lock(lock, folder / f"{name}.lock", wait=False):
                _locks.append(lock)
                return position
            os.close(lock)
        if not waiting:
            which = "the GPU is" if len(devices) == 1 else f"all {len(devices)} GPUs are"
            print(f"{which} in use by other jobs: waiting", file=sys.stderr, flush=True)
        waiting = True
        time.sleep(POLL_SECONDS)


@contextmanager
def selection_lock(folder: Path = FOLDER) -> Iterator[None]:
    """Let one job at a time choose its devices.

    Without it two jobs of several processes could each lock a device that the other waits for.
    """
    if (lock := _open(folder, "selection.lock")) is None:
        yield
        return
    try:
        if not try_lock(lock, folder / "selection.lock", wait=False):
            print("other jobs wait for a GPU too: waiting", file=sys.stderr, flush=True)
            try_lock(lock, folder / "selection.lock", wait=True)
        yield
    finally:
        os.close(lock)


def _open(folder: Path, name: str) -> int | None:
    """Open a lock file without following links, in a folder that belongs to this user.

    /tmp is writable for everybody, who could otherwise redirect us to another file. None, after a
    warning, where no file can be made.
    """
    try:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise UserError(f"{folder}: not a folder of this user; have it removed")
        return os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        warn_once(f"{folder}: no lock can be made there ({error.strerror}); run one job on a GPU")
        return None


def _release_all() -> None:
    """Close all locks in a forked child, which would keep them if it outlived its parent."""
    for lock in _locks:
        os.close(lock)
    _locks.clear()


os.register_at_fork(after_in_child=_release_all)
