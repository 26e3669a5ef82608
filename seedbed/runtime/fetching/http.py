"""One file over HTTP: it goes on where an interrupted transfer stopped, and tries again.

What has come is in a file of its own, `part`; beside it `part`.json says which version of the file
on the server it belongs to (its ETag, or else its date). Only the rest of that version is asked
for; a server that has no ranges, or another version by now, begins again from zero.
"""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import requests

from seedbed.runtime.fetching.checksums import format_size
from seedbed.runtime.fetching.space import require_space
from seedbed.runtime.progress import transfer_progress

PAUSES = (1.0, 2.0, 5.0, 15.0, 60.0)  # seconds before each further try while nothing comes
TIMEOUTS = (15.0, 60.0)  # seconds to connect, and between two reads
BLOCK = 1 << 18
TRY_AGAIN = {408, 425, 429, 500, 502, 503, 504}


class AddressError(Exception):
    """Why an address does not give the file, in a few words; another address may."""


class _InterruptedError(Exception):
    """A transfer that may go on."""


def transfer(address: str, part: Path, size: int | None) -> None:
    """Bring the file of an address to `part`, which may hold the beginning of it already.

    Redirects are followed, and proxies are those of the environment. As long as something comes,
    an interrupted transfer goes on; after `len(PAUSES)` tries in vain it ends.

    Args:
        address: http:// or https://.
        part: the file that is written; it is kept if the transfer ends early.
        size: in bytes, if it is known; an address with another size is not transferred.

    Raises:
        AddressError: the address does not give the file.
        UserError: the disk has no room.

    """
    failures = 0
    while True:
        before = _length(part)
        try:
            return _go_on(address, part, size)
        except (_InterruptedError, requests.ConnectionError, requests.Timeout) as error:
            failures = 0 if _length(part) > before else failures + 1
            if failures > len(PAUSES):
                raise AddressError(_reason(error)) from error
            pause(PAUSES[max(0, failures - 1)])
        except requests.TooManyRedirects:
            raise AddressError("redirects without end") from None
        except requests.RequestException as error:
            raise AddressError(_reason(error)) from error


def pause(seconds: float) -> None:
    """Wait before another try."""
    time.sleep(seconds)


def _go_on(address: str, part: Path, size: int | None) -> None:
    """Ask for what `part` lacks, or for all, and append it."""
    have, version = _length(part), _read_version(part, address)
    if not version:
        have = 0
    if have and have == size:
        return
    headers = {"Accept-Encoding": "identity"}  # compressed, neither size nor ranges would be right
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    with requests.get(address, headers=headers, stream=True, timeout=TIMEOUTS) as response:
        _check_status(response, part)
        resumed = response.status_code == 206
        if resumed and not _continues(response, have, version):
            part.unlink()
            raise _InterruptedError("another file than before")
        have = have if resumed else 0
        total = _total(response, have)
        if size is not None and total is not None and total != size:
            raise AddressError(f"has {format_size(total)}, not {format_size(size)}")
        require_space(part.parent, (total or size or have) - have, part.name)
        if not resumed:
            discard(part)  # before its version changes: the two must belong together
        _write_version(part, address, _version_of(response.headers))
        _append(response, part, have, total or size)
    if total and _length(part) < total:
        raise _InterruptedError(f"ended after {_length(part)} of {total} bytes")


def _check_status(response: requests.Response, part: Path) -> None:
    status = response.status_code
    if status == 416:  # there is no such range: `part` is not the beginning of this file
        part.unlink(missing_ok=True)
        raise _InterruptedError("the file has another size than before")
    if status in TRY_AGAIN:
        raise _InterruptedError(f"{status} {response.reason}")
    if status not in (200, 206):
        raise AddressError(f"{status} {response.reason}")
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise AddressError("sends a web page instead of the file, as after too many downloads")


def _append(response: requests.Response, part: Path, have: int, total: int | None) -> None:
    with part.open("r+b" if have else "wb") as file:
        file.seek(have)
        file.truncate()
        for block in transfer_progress(_blocks(response), total=total, done=have):
            file.write(block)


def _blocks(response: requests.Response) -> Iterator[bytes]:
    """The content as it comes; `iter_content` would wait for whole blocks and lose a broken one."""
    try:
        while block := response.raw.read1(BLOCK):
            yield block
    except Exception as error:  # urllib3's own errors, and those of sockets
        raise _InterruptedError(f"the connection broke: {error}") from error


def _continues(response: requests.Response, have: int, version: str) -> bool:
    """Whether a partial answer is the rest of what is there."""
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    return begins and _version_of(response.headers) in (version, "")


def _total(response: requests.Response, have: int) -> int | None:
    length = response.headers.get("Content-Length", "")
    return have + int(length) if length.isdecimal() else None


def _version_of(headers: Mapping[str, str]) -> str:
    """What identifies a version of a file; weak ETags do not identify bytes."""
    etag = headers.get("ETag", "")
    return headers.get("Last-Modified", "") if etag.startswith("W/") or not etag else etag


def _version_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _read_version(part: Path, address: str) -> str:
    """The version that `part` belongs to; empty if that is not known, or of another address."""
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(_version_file(part).read_text())
        return str(kept["version"]) if kept["address"] == address else ""
    return ""


def _write_version(part: Path, address: str, version: str) -> None:
    _version_file(part).write_text(json.dumps({"address": address, "version": version}))


def discard(part: Path) -> None:
    """Remove what has been transferred."""
    for path in (part, _version_file(part)):
        path.unlink(missing_ok=True)


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _reason(error: Exception) -> str:
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return " ".join(str(error).split())
