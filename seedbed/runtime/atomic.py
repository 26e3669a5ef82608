"""Files and folders that appear whole or not at all.

Each is written beside its target, synced to the disk and renamed into place, so that after a crash,
of the machine too, a file under its own name is whole. Temporaries are locked while a process
writes them, and the lock ends with the process: one without a lock was left by a process that died,
and the next writer in that folder removes it. Its name says which machine made it, because not
every shared disk shows locks to other machines.
"""

import ctypes
import errno
import fcntl
import functools
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from seedbed.runtime.errors import UserError

MACHINE = hashlib.sha256(os.uname().nodename.encode()).hexdigest()[:6]
TEMPORARY_NAME = re.compile(rf"\..+\.{MACHINE}[0-9a-f]{{8}}(\.\w+)?")
REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EFBIG: "raise the limit on files (ulimit -f)",
}
NAME_MAX = 255  # bytes in a name, on all common file systems
MAX_SUFFIX = 16  # bytes of what is a suffix, not the end of a long name with a dot
PROBE_BYTES = 1 << 20  # more than Pillow frees when it fails


def atomic(path: Path) -> AbstractContextManager[Path]:
    """Yield a temporary path; the file written there replaces `path`, or is removed on an error.

    Raises:
        UserError: the disk is full, or nothing can be written there.

    """
    return _replacement(Path(path), Path.touch)


def atomic_folder(path: Path, *, replace: bool = True) -> AbstractContextManager[Path]:
    """Yield an empty temporary folder that replaces `path`, or is removed on an error.

    Args:
        path: the folder that appears whole.
        replace: whether one that is there with files in it may be replaced.

    Raises:
        UserError: the disk is full, nothing can be written there, or `path` may not be replaced.

    """
    return _replacement(Path(path), Path.mkdir, replace)


@contextmanager
def _replacement(
    path: Path, create: Callable[[Path], None], replace: bool = True
) -> Iterator[Path]:
    temporary = _temporary_path(path)
    try:
        with _explain_refusal(path, temporary), _locked(temporary, create):
            yield temporary
            _publish(temporary, path, replace)
    finally:
        _remove(temporary)


def _temporary_path(path: Path) -> Path:
    """Hidden path beside `path`, with the same suffix; a long name is cut short."""
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= MAX_SUFFIX else ""
    ending = f".{MACHINE}{secrets.token_hex(4)}{suffix}"
    room = NAME_MAX - len(os.fsencode(f".{ending}"))
    stem = os.fsencode(path.stem)[:room].decode(errors="ignore") or "_"
    return path.with_name(f".{stem}{ending}")


def _publish(temporary: Path, path: Path, replace: bool) -> None:
    """Rename a temporary that is on the disk, and wait until its name is there too."""
    if temporary.is_dir():
        _sync_file_system(temporary)
        _replace_folder(temporary, path, replace)
    else:
        _fsync(temporary)
        temporary.replace(path)
    with suppress(OSError):  # not every file system can sync names
        _fsync(path.parent)


def _replace_folder(temporary: Path, path: Path, replace: bool) -> None:
    """Rename a folder; a full one cannot be replaced and is moved away first."""
    while True:
        try:
            temporary.rename(path)
            return
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        if not replace:
            raise UserError(f"{path} is there already: move it away, or use what it holds")
        old = _temporary_path(path)
        with suppress(FileNotFoundError):  # another process replaces the folder too
            path.rename(old)
        _remove(old)


def _remove(path: Path) -> None:
    """Remove a file or folder if it is there and can be removed."""
    shutil.rmtree(path, ignore_errors=True)  # does nothing to a file
    with suppress(OSError):
        path.unlink()


@contextmanager
def _locked(temporary: Path, create: Callable[[Path], None]) -> Iterator[None]:
    """Create a temporary file or folder and lock it, where the file system has locks."""
    temporary.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(temporary.parent.resolve())
    with ExitStack() as stack:
        while True:
            create(temporary)
            with suppress(FileNotFoundError):  # another process removed it before it was locked
                handle = stack.enter_context(_opened(temporary))
                with suppress(OSError):
                    fcntl.flock(handle, fcntl.LOCK_EX)
                if temporary.exists():
                    break
        yield


@functools.cache  # once for each folder in a process
def _remove_abandoned(folder: Path) -> None:
    """Remove this machine's temporaries in a folder that no living process writes."""
    for path in folder.iterdir():
        if TEMPORARY_NAME.fullmatch(path.name):
            with suppress(OSError), _opened(path) as handle:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(path)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Yield a descriptor of a file or folder that can be locked and synced."""
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def _explain_refusal(path: Path, temporary: Path) -> Iterator[None]:
    """Turn an error while `path` is written into a UserError if the disk takes no more data.

    Libraries such as torch lose the reason of a failed write, so the disk is asked for it, while
    what was written still takes up its room.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        try:
            _write_probe(temporary)
        except OSError as refusal:
            remedy = REMEDIES.get(refusal.errno, "let this user write there")
            reason = f"cannot write {path}: {refusal.strerror}"
            raise UserError(f"{reason}; {remedy} and run the same command again") from error
        raise


def _write_probe(temporary: Path) -> None:
    """Write more data to a temporary; OSError says why the disk takes none."""
    temporary.parent.mkdir(parents=True, exist_ok=True)
    probe = temporary / "probe" if temporary.is_dir() else temporary
    with probe.open("ab") as file:
        file.write(bytes(PROBE_BYTES))
    _fsync(probe)


def _fsync(path: Path) -> None:
    with _opened(path) as handle:
        os.fsync(handle)


def _sync_file_system(folder: Path) -> None:
    """Wait until everything on a folder's file system is on the disk: one call for any files."""
    with _opened(folder) as handle:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
