"""One file from the first of its addresses that gives what is expected."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from seedbed.runtime.errors import UserError
from seedbed.runtime.fetching.checksums import differences, digests, format_size
from seedbed.runtime.fetching.drive import is_drive, transfer_from_drive, web_address
from seedbed.runtime.fetching.http import AddressError, discard, transfer
from seedbed.runtime.file_lock import try_lock

MIRROR = "SEEDBED_MIRROR"  # environment variable: an address that stands in for all hosts


class AddressesError(Exception):
    """Why none of several addresses gives what is expected."""


@dataclass(frozen=True)
class Expected:
    """What a file must be.

    Attributes:
        name: its own name, which is looked for in a folder.
        size: in bytes; None: not known.
        checksums: hexadecimal values by their kinds, see `checksums.KINDS`.

    """

    name: str
    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)

    def problems(self, path: Path) -> list[str]:
        """How a file differs from what is expected, in a few words each; reads all of it."""
        size = path.stat().st_size
        if self.size is not None and size != self.size:
            return [f"has {format_size(size)} ({size} bytes), not {self.size}"]
        if _is_web_page(path):
            return ["is a web page instead of the file"]
        return differences(digests(path), self.checksums)


def download(addresses: Sequence[str], part: Path, expected: Expected) -> str:
    """Bring a file to `part` from the first address that gives what is expected.

    Returns:
        The address.

    Raises:
        AddressesError: no address does.
        UserError: the disk takes no more; `part` then holds what has come.

    """
    reasons = []
    for address in addresses:
        try:
            with _explained(part):
                _download_checked(address, part, expected)
            return address
        except AddressError as error:
            reasons.append(f"{shown(address)}: {error}")
    raise AddressesError("; ".join(reasons))


def shown(address: str) -> str:
    """An address as a browser takes it."""
    return web_address(address) if is_drive(address) else address


def _download_checked(address: str, part: Path, expected: Expected) -> None:
    """Transfer a file; a wrong one whose beginning was there before is fetched once more."""
    began = part.exists()
    _transfer(address, part, expected)
    if problems := expected.problems(part):
        discard(part)
        if not began:
            raise AddressError(problems[0])
        _download_checked(address, part, expected)


def _transfer(address: str, part: Path, expected: Expected) -> None:
    mirrored = mirror_of(address)
    if is_drive(mirrored):
        transfer_from_drive(mirrored, part, expected.name)
    else:
        transfer(mirrored, part, expected.size)


def mirror_of(address: str) -> str:
    """The address, or the one that stands in for it: `MIRROR/host/path?query`.

    Google Drive's files are then at `MIRROR/drive.google.com/ID`.
    """
    mirror = os.environ.get(MIRROR, "").rstrip("/")
    if not mirror:
        return address
    if is_drive(address):
        return f"{mirror}/drive.google.com/{address.partition(':')[2]}"
    parts = urlsplit(address)
    query = f"?{parts.query}" if parts.query else ""
    return f"{mirror}/{parts.netloc}{parts.path}{query}"


@contextmanager
def _explained(part: Path) -> Iterator[None]:
    """Turn a refusal of the disk into one line."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {part}: {error.strerror or error}; make room or let this user write"
            " there, and run the same command again"
        ) from error


@contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a lock file: of two processes that fetch the same, one waits, and says so.

    On a disk without locks this warns and goes on, see `try_lock`.

    Raises:
        UserError: the lock file cannot be written or locked.

    """
    with _explained(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("a")
    with file:
        with _explained(lock):
            if not try_lock(file.fileno(), lock, wait=False):
                print(f"{lock}: waits for another process", flush=True)
                try_lock(file.fileno(), lock, wait=True)
        yield


def _is_web_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html"))
