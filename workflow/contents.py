"""Digests of given files and folders: jobs depend on their contents, not on where they lie."""

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

# A file changed so recently may change again without another time of change.
SETTLED_SECONDS = 2.0


class ContentDigest:
    """SHA-256 of files and folders, as 16 hexadecimal digits.

    A folder's covers the names and contents of all files in it, hidden ones apart. What was read is
    remembered in a cache file by path, size and time of change, so that it is read once. A cache
    that is missing, damaged or cannot be written costs only time.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._digests: dict[str, list] = {}
        self._changed = False
        with suppress(OSError, ValueError):
            loaded = json.loads(cache.read_text(encoding="utf-8"))
            self._digests = loaded if isinstance(loaded, dict) else {}

    def __call__(self, paths: Iterable[str]) -> str:
        """The digest of several files and folders, in this order.

        Raises:
            UserError: a file cannot be read, as a link to nothing.

        """
        self._changed = False
        total = hashlib.sha256()
        for path in paths:
            for name, file in _files(Path(path)):
                try:
                    digest = self._of_file(file)
                except OSError as error:
                    raise UserError(
                        f"{file}: cannot be read ({error.strerror}): correct or remove it"
                    ) from error
                total.update(f"{name}\0{digest}\n".encode())
            total.update(b"\n")
        if self._changed:
            self._save()
        return total.hexdigest()[:16]

    def _of_file(self, path: Path) -> str:
        status = path.stat()
        key, state = str(path.resolve()), [status.st_size, status.st_mtime_ns]
        known = self._digests.get(key)
        if known and known[:2] == state:
            return known[2]
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if time.time() - status.st_mtime > SETTLED_SECONDS:
            self._digests[key] = [*state, digest]
            self._changed = True
        return digest

    def _save(self) -> None:
        with suppress(OSError, UserError), atomic(self.cache) as temporary:
            temporary.write_text(json.dumps(self._digests), encoding="utf-8")


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Names relative to `path` and paths of the files below it, in order; or the file itself."""
    if not path.is_dir():
        yield "", path
        return
    for folder, subfolders, names in os.walk(path, followlinks=True):
        subfolders.sort()
        for name in sorted(names):
            if not name.startswith("."):
                file = Path(folder, name)
                yield str(file.relative_to(path)), file
