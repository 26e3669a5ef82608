"""File locks, and what becomes of them on a file system that has none."""

import errno
import fcntl

from seedbed.runtime.errors import warn_once

# How file systems say that they have no locks, as some network disks and FUSE mounts.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


def try_lock(file: int, name: object, *, wait: bool, shared: bool = False) -> bool:
    """Lock an open file with flock; the kernel releases the lock when its process ends.

    On a file system without locks this warns once on stderr and goes on as if the lock were held.

    Args:
        file: a file descriptor.
        name: the file's path, for the warning.
        wait: whether to wait while another process holds the lock.
        shared: whether other processes may hold a shared lock too.

    Returns:
        Whether the lock is held; False if another process holds it and `wait` is false.

    Raises:
        OSError: flock failed for another reason.

    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        warn_once(
            f"{name}: this disk has no file locks ({error.strerror}); never run the same step "
            "twice at a time"
        )
    return True
