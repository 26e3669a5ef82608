"""What made each artefact of a run, kept beside the results: `provenance.json`.

Snakemake keeps its records (rule, params with settings and code digest, inputs) in `.snakemake`,
which does not travel with the results. This file holds copies of them. Where Snakemake's own are
missing they are given back, together with the artefacts' times, so that it finds a changed setting
as it would have where the results were made, and remakes nothing that has not changed.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from snakemake.io import IOFile
from snakemake.persistence import MetadataRecord, PersistenceBase

from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

FILE = "provenance.json"
INDEX = "dataset/index.json"
NO_ARTEFACTS = {"logs", "benchmarks", "tensorboard"}
TIMESTAMP = ".snakemake_timestamp"  # Snakemake's, in each folder that a rule writes
STALE = ["the data set has changed"]  # in place of params: not those of any job
UNKNOWN = ["settings and code unknown"]  # as well
WHOLE = 4 << 20  # bytes of a file that is read whole for its fingerprint
SAMPLE, SAMPLES = 1 << 16, 64


class Provenance:
    """The records of a results folder, compared with Snakemake's.

    Attributes:
        entries: by path relative to the folder: Snakemake's record of an artefact (`record`), its
            time of change (`mtime`, ns) and `fingerprint`.
        places: where the data folder has lain with the contents that the index was made from.
        benchmarks: benchmark files, or folders of them, of steps that lie in other folders.
        unknown: artefacts that neither Snakemake nor the file knows.

    """

    def __init__(self, results: str, snakemake: PersistenceBase) -> None:
        self.results = results
        self.snakemake = snakemake
        self.entries: dict[str, dict] = {}
        self.places: list[str] = []
        self.benchmarks: list[str] = []
        self.unknown: list[str] = []
        self._load()

    def sync(self, place: str | None = None, benchmarks: list[str] | None = None) -> None:
        """Copy Snakemake's new records to the file, and give back those that it lacks.

        Args:
            place: of the data, if the jobs have just run with them.
            benchmarks: the new value of the attribute, if it is known.

        """
        self.snakemake.deactivate_cache()  # jobs may have run since
        before, self.unknown = self._text(), []
        self.benchmarks = self.benchmarks if benchmarks is None else benchmarks
        found = {name: entry for name, entry in self.entries.items() if self._is_missing(name)}
        for name in found:
            if not self._read(name):
                self._write(name, found[name]["record"])
        for name in sorted(self._artefacts()):
            if entry := self._settle(name):
                found[name] = entry
            elif not self._is_incomplete(name):
                self.unknown.append(f"{self.results}/{name}")
        if found.get(INDEX) != self.entries.get(INDEX):
            self.places = [place] if place else []
        self.entries = found
        if self._text() != before:
            self.save()

    def save(self) -> None:
        """Write the file; on a disk that takes none, the records stay Snakemake's alone."""
        path = Path(self.results, FILE)
        if not self.entries and not path.exists():
            return
        with suppress(OSError, UserError), atomic(path) as temporary:
            temporary.write_text(self._text(), encoding="utf-8")

    def mark_stale(self, folder: str) -> None:
        """Let Snakemake make the artefacts below a folder again."""
        for name, entry in self._below(folder):
            self._write(name, {**entry["record"], "params": STALE})

    def mark_unknown(self, paths: Iterable[str]) -> None:
        """Let Snakemake take artefacts without a record for made with other settings."""
        for path in paths:
            if self.snakemake.metadata(IOFile(path)) is None:
                record = MetadataRecord(params=UNKNOWN, record_format_version=6)
                self.snakemake._write_record(path, record)
        self.snakemake.deactivate_cache()

    def accept_inputs(self, folder: str, checksums: dict[str, str]) -> None:
        """Let files with these checksums count as inputs of a folder's artefacts, too."""
        for name, entry in self._below(folder) if checksums else []:
            known = entry["record"]["input_checksums"] or {}
            # No list of inputs: Snakemake then compares none.
            entry["record"] |= {"input": None, "input_checksums": known | checksums}
            self._write(name, entry["record"])
        self.save()

    def existing(self, folder: str) -> Iterator[tuple[str, dict]]:
        """Names and entries of the known artefacts below a folder that are there."""
        return (item for item in self._below(folder) if not self._is_missing(item[0]))

    def _below(self, folder: str) -> list[tuple[str, dict]]:
        return [item for item in self.entries.items() if item[0].startswith(f"{folder}/")]

    def _settle(self, name: str) -> dict | None:
        """The entry of an artefact, after Snakemake has a record of it too; None if unknown."""
        path, known = Path(self.results, name), self.entries.get(name)
        if self._is_incomplete(name):
            return known
        mtime = _time_file(path).stat().st_mtime_ns
        record = self._read(name)
        if record and record["params"] == STALE:
            record = None
        if record and known and known["mtime"] == mtime and known["record"] == record:
            return known
        ours = record and record["endtime"] and abs(record["endtime"] - mtime / 1e9) < 0.01
        # Records of an earlier run may lie where results were copied to.
        if known and not ours and known["fingerprint"] == fingerprint(path):
            self._write(name, known["record"])
            with suppress(OSError):
                os.utime(_time_file(path), ns=(known["mtime"], known["mtime"]))
            return known
        if record:
            return {"record": record, "mtime": mtime, "fingerprint": fingerprint(path)}
        return None

    def _is_missing(self, name: str) -> bool:
        """Whether an artefact is not there: a changed setting of its job counts all the same."""
        return not os.path.lexists(Path(self.results, name))

    def _artefacts(self) -> Iterator[str]:
        """Relative paths of the files and of the folders that are artefacts."""
        for folder, subfolders, files in os.walk(self.results):
            relative = Path(folder).relative_to(self.results)
            kept = []
            for name in subfolders:
                path = Path(folder, name)
                if (path / TIMESTAMP).exists() or str(relative / name) in self.entries:
                    yield str(relative / name)
                elif name not in NO_ARTEFACTS and not (path / FILE).exists():
                    kept.append(name)
            subfolders[:] = kept
            names = [name for name in files if name != FILE and not name.startswith(".")]
            yield from (str(relative / name) for name in names)

    def _key(self, name: str) -> str:
        return f"{self.results}/{name}"

    def _read(self, name: str) -> dict | None:
        record = self.snakemake.metadata(IOFile(self._key(name)))
        if record and record.params == UNKNOWN:
            return None
        return json.loads(json.dumps(dict(record.items()))) if record else None

    def _write(self, name: str, record: dict) -> None:
        self.snakemake._write_record(self._key(name), MetadataRecord.model_validate(record))
        self.snakemake.deactivate_cache()

    def _is_incomplete(self, name: str) -> bool:
        key = self._key(name)
        return bool(self.snakemake._filter_incomplete_keys([key]))

    def _load(self) -> None:
        try:
            content = json.loads(Path(self.results, FILE).read_text(encoding="utf-8"))
            origin, entries = content["results"], content["artefacts"]
            for entry in entries.values():
                _rename_results(entry["record"], origin, self.results)
            self.entries, self.places = entries, list(content["places"])
            self.benchmarks = list(content.get("benchmarks", []))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return  # none, or damaged

    def _text(self) -> str:
        content = {
            "results": self.results,
            "places": self.places,
            "benchmarks": self.benchmarks,
            "artefacts": self.entries,
        }
        return json.dumps(content, indent=1, sort_keys=True)


def _rename_results(record: dict, origin: str, results: str) -> None:
    """Change the folder of a record's inputs that are artefacts too."""
    if origin == results:
        return

    def renamed(path: str) -> str:
        inside = path.startswith(f"{origin}/")
        return results + path.removeprefix(origin) if inside else path

    record["input"] = record["input"] and sorted(map(renamed, record["input"]))
    record["input_checksums"] = {
        renamed(p): c for p, c in (record["input_checksums"] or {}).items()
    }


def _time_file(path: Path) -> Path:
    """The file whose time of change is the artefact's, as Snakemake sees it."""
    timestamp = path / TIMESTAMP
    return timestamp if timestamp.exists() else path


def fingerprint(path: Path) -> str:
    """Hash that tells an artefact from others of its name; of a folder, of names and sizes.

    A large file is not read whole, but 64 pieces all over it.
    """
    total = hashlib.sha256()
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.name != TIMESTAMP and file.is_file():
                total.update(f"{file.relative_to(path)} {file.stat().st_size}\n".encode())
        return total.hexdigest()
    size = path.stat().st_size
    total.update(f"{size}\n".encode())
    with path.open("rb") as file:
        if size <= WHOLE:
            total.update(file.read())
        else:
            for number in range(SAMPLES):
                file.seek((size - SAMPLE) * number // (SAMPLES - 1))
                total.update(file.read(SAMPLE))
    return total.hexdigest()
