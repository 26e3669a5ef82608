"""What a reader may not do, whatever the bytes: run, write elsewhere, take gigabytes, go on."""

import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

from seedbed.runtime.errors import UserError

MEMORY = 2 << 30
SECONDS = 10
LONGEST_LINE = 20_000
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.kill")
OUTSIDE = (*PROCESSES, "socket.connect", "socket.bind", "ctypes.dlopen", "webbrowser.open")
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod")

_workplace: Path | None = None
_seconds = 0
_breaches: list[str] = []
whole: list[str] = []  # names of the files that were read to their end


class FindingError(AssertionError):
    """A reader did what none may do."""


def enter(folder: Path, seconds: int = 0) -> None:
    """Keep this process, from now on, to a folder for its files and to MEMORY more than it has.

    `seconds` of processor time is what a reader may take, or it is killed; 0: no limit here.
    """
    global _workplace, _seconds
    _workplace, _seconds = folder.resolve(), seconds
    tempfile.tempdir = str(_workplace)
    os.chdir(_workplace)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_watch)


def _watch(event: str, arguments: tuple) -> None:
    """Note what leaves the folder. To raise is not enough: a reader would report it as damage."""
    changes = event in CHANGES or (event == "open" and arguments[2] & WRITING)
    if event in OUTSIDE or (changes and not _inside(arguments[0])):
        _breaches.append(f"{event}{arguments}")


def _inside(place: object) -> bool:
    if isinstance(place, int):  # a descriptor that is open already
        return True
    path = Path(os.path.abspath(os.fsdecode(place)))  # noqa: PTH100 - links stay what they are
    return path.is_relative_to(_workplace) or path == Path(os.devnull)


def attempt(read: Callable[[Path], object], name: str, data: bytes) -> None:
    """Let a reader loose on a file of these bytes; raises FindingError for all but a UserError."""
    path = _workplace / name
    path.write_bytes(data)
    _breaches.clear()
    signal.setitimer(signal.ITIMER_PROF, _seconds)
    try:
        read(path)
        whole.append(name)
    except UserError as error:
        _check(error)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        found = list(_workplace.iterdir())
        if _breaches or found != [path]:
            raise FindingError(f"{read.__name__}: {_breaches or found}")
    path.unlink()


def _check(error: UserError) -> None:
    """Refuse a reason that a limit has made, and a message that no one could read on a line."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or "allocate" in str(cause):
            raise FindingError(f"more than {MEMORY} bytes wanted") from error
        cause = cause.__cause__ or cause.__context__
    if len(str(error)) > LONGEST_LINE:
        raise FindingError(f"a message of {len(str(error))} characters")


def apart(work: Callable[[], None], folder: Path) -> None:
    """Do work in a child process kept to `folder`; raises FindingError if it fails.

    What it was reading when it was killed lies in `folder`.
    """
    sys.stdout.flush()
    report, said = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(report)
            enter(folder, SECONDS)
            work()
            status = 0
        except BaseException:
            os.write(said, traceback.format_exc()[-60_000:].encode(errors="replace"))
        finally:
            os._exit(status)
    os.close(said)
    with os.fdopen(report, errors="replace") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise FindingError(text or f"ended by {signal.Signals(-code).name}")
