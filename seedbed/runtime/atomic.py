"""Files and folders that are whole or not there.

One is written beside its target, brought to the disk and renamed into place, so that whoever sees
it sees it whole, after a crash of the machine too. What the disk refuses ends in a UserError.
"""

import ctypes
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from seedbed.runtime.errors import UserError
from seedbed.runtime.temporaries import beside, held, sweep

# What makes a disk take files again; for all other reasons, a right to write.
REMEDIES = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EFBIG: "raise the limit on files (ulimit -f)",
}
PROBE = 1 << 20  # bytes; more than Pillow gives back when it fails


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path; the file written there becomes `path`, on an error it vanishes.

    Raises UserError if the disk is full, or nothing may be written there.
    """
    path = Path(path)
    temporary = beside(path)
    try:
        with _refusals_named(path, temporary):
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path.parent.resolve())
            with held(temporary, temporary.touch):
                yield temporary
                _sync(temporary)
                temporary.replace(path)
        _sync_name(path)
    finally:
        with suppress(OSError):  # where nothing can be written there is nothing to remove
            temporary.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder that becomes `path` (replacing it), or vanishes.

    Raises UserError as `atomic` does.
    """
    path = Path(path)
    temporary, old = beside(path), beside(path)
    try:
        with _refusals_named(path, temporary / "probe"):
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep(path.parent.resolve())
            with held(temporary, temporary.mkdir):
                yield temporary
                _sync_all(temporary)
                while not _moved(temporary, path):
                    with suppress(FileNotFoundError):  # another process was moving its own
                        path.rename(old)
                    shutil.rmtree(old, ignore_errors=True)
        _sync_name(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _moved(folder: Path, path: Path) -> bool:
    """Rename a folder; False if one that is not empty has that name: it cannot be replaced."""
    try:
        folder.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    return True


@contextmanager
def _refusals_named(path: Path, probe: Path) -> Iterator[None]:
    """Turn an error while `path` is written into a UserError, if the disk takes no more.

    Libraries lose the reason (torch), so the disk is asked for it, at the path `probe`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if refusal := _refusal(probe):
            remedy = REMEDIES.get(refusal.errno, "let this user write there")
            reason = f"cannot write {path}: {refusal.strerror}"
            raise UserError(f"{reason}; {remedy} and run the same command again") from error
        raise


def _refusal(probe: Path) -> OSError | None:
    """Why the disk takes no more, or None if it does; what is written for that stays."""
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        with probe.open("ab") as file:
            file.write(bytes(PROBE))
        _sync(probe)
    except OSError as refusal:
        return refusal
    return None


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_name(path: Path) -> None:
    """Wait until a name is on the disk, on file systems that can tell."""
    with suppress(OSError):
        _sync(path.parent)


def _sync_all(folder: Path) -> None:
    """Wait until all of a folder's file system is on the disk: one call for any number of files."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(handle)
