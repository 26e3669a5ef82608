"""Archives from outside: tar (also compressed) and zip, of which a part becomes a folder.

Only files and folders are unpacked, to where their names say below that folder; no link, no device,
no name that leads elsewhere, and no more bytes than were announced. Where Python has tarfile's
`data` filter (3.11.4), every member of a tar passes it too.
"""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from seedbed.runtime.errors import UserError

HEADER = 512  # bytes that a member counts as at least, so that their number has a limit too
BLOCK = 1 << 20


@dataclass(frozen=True)
class _Member:
    """A file of an archive: its name there, its size, and how it is opened."""

    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, inside: str, folder: Path, limit: int) -> int:
    """Unpack what lies in a folder of an archive.

    Args:
        archive: a tar, compressed or not, or a zip.
        inside: the folder in the archive; empty for everything.
        folder: an empty folder that takes its content.
        limit: bytes that all files may have together.

    Returns:
        The number of files.

    Raises:
        UserError: the archive is broken or hostile, or has nothing in `inside`. `folder` may then
            hold some files.

    """
    total, count = 0, 0
    try:
        for member in _members(archive, folder):
            total += max(member.size, HEADER)
            if total > limit:
                raise UserError(
                    f"{archive} unpacks to more than {limit} bytes: not the published archive"
                )
            path = PurePosixPath(member.name)
            if path.is_relative_to(inside):
                _write(member, folder / path.relative_to(inside), archive)
                count += 1
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError) as e:
        raise UserError(f"cannot unpack {archive}: {e}; remove it, so that it is got anew") from e
    if not count:
        raise UserError(f"{archive} has no file in {inside or 'it'}: not the published archive")
    return count


def _members(archive: Path, folder: Path) -> Iterator[_Member]:
    if zipfile.is_zipfile(archive) and not tarfile.is_tarfile(archive):
        return _members_of_zip(archive)
    return _members_of_tar(archive, folder)


def _members_of_tar(archive: Path, folder: Path) -> Iterator[_Member]:
    """The files of a tar, one after another: each is read before the next is asked for."""
    data_filter = getattr(tarfile, "data_filter", None)
    with tarfile.open(archive, "r|*") as tar:
        for info in tar:
            if not (info.isreg() or info.isdir()):
                raise UserError(f"{archive} holds {info.name!r}, a link or device: not unpacked")
            _check_name(info.name, archive)
            if data_filter:
                data_filter(info, str(folder))
            if info.isreg():
                yield _Member(info.name, info.size, lambda info=info: tar.extractfile(info))


def _members_of_zip(archive: Path) -> Iterator[_Member]:
    with ExitStack() as stack:
        packed = stack.enter_context(zipfile.ZipFile(archive))
        for info in packed.infolist():
            if (info.external_attr >> 28) == 0xA:  # the type in the mode of a Unix file
                raise UserError(f"{archive} holds {info.filename!r}, a link: not unpacked")
            _check_name(info.filename, archive)
            if not info.is_dir():
                yield _Member(info.filename, info.file_size, lambda info=info: packed.open(info))


def _check_name(name: str, archive: Path) -> None:
    """Refuse a name that may lead out of the folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise UserError(f"{archive} holds the name {name!r}, which leads elsewhere: not unpacked")


def _write(member: _Member, path: Path, archive: Path) -> None:
    """Write a file of an archive; a size that is not the announced one is an error."""
    if path.exists():
        raise UserError(f"{archive} holds {member.name!r} twice: not the published archive")
    path.parent.mkdir(parents=True, exist_ok=True)
    source = member.open()
    if source is None:
        raise UserError(f"{archive} holds {member.name!r}, which is no file: not unpacked")
    with source, path.open("wb") as file:
        _copy(source, file, member, archive)


def _copy(source: IO[bytes], file: IO[bytes], member: _Member, archive: Path) -> None:
    left = member.size
    while block := source.read(min(BLOCK, left + 1)):
        left -= len(block)
        if left < 0:
            raise UserError(f"{archive}: {member.name!r} is longer than it says: not unpacked")
        file.write(block)
    if left:
        raise UserError(f"{archive}: {member.name!r} is shorter than it says: not unpacked")
