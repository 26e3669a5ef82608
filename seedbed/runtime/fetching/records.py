"""fetched.lock: what was fetched from where, and the SHA-256 that a later fetch must find again."""

import hashlib
import json
from pathlib import Path
from typing import TypedDict

from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError
from seedbed.runtime.fetching.checksums import digests
from seedbed.runtime.fetching.download import alone


class Record(TypedDict):
    """What is kept of something that was fetched."""

    address: str
    sha256: str
    size: int


class Records:
    """The records of a data folder by path, in a JSON file that `lock` guards."""

    def __init__(self, path: Path, lock: Path) -> None:
        self.path = path
        self.lock = lock

    def sha256(self, name: str) -> str | None:
        """The SHA-256 of an earlier fetch; None if there was none."""
        record = self._read().get(name)
        return record["sha256"] if record else None

    def keep(self, name: str, record: Record) -> None:
        """Add or replace a record."""
        with alone(self.lock):
            records = self._read() | {name: record}
            with atomic(self.path) as temporary:
                temporary.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n")

    def _read(self) -> dict[str, Record]:
        try:
            return json.loads(self.path.read_text(encoding="utf-8")) if self.path.exists() else {}
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {self.path}: {error}; correct or remove it") from None


def record_of_file(path: Path, address: str) -> Record:
    """The record of a file."""
    return {"address": address, "sha256": digests(path)["sha256"], "size": path.stat().st_size}


def record_of_folder(folder: Path, address: str) -> Record:
    """The record of a folder: the SHA-256 of the list of its files with theirs."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{digests(path)['sha256']}  {path.relative_to(folder)}\n" for path in files]
    total = hashlib.sha256("".join(lines).encode()).hexdigest()
    size = sum(path.stat().st_size for path in files)
    return {"address": address, "sha256": total, "size": size}
