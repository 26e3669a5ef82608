"""Sizes and checksums of files that were fetched."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

KINDS = {"md5": "md5", "sha1": "sha1", "sha256": "sha256", "sha256_prefix": "sha256"}
BLOCK = 1 << 20


def digests(path: Path) -> dict[str, str]:
    """The hexadecimal md5, sha1 and sha256 of a file, read once."""
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in set(KINDS.values())}
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            for one in hashes.values():
                one.update(block)
    return {name: one.hexdigest() for name, one in hashes.items()}


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Say which digests differ from the expected checksums, whose kinds are those of `KINDS`."""
    return [
        f"{kind} is {found[KINDS[kind]]}, not {value}"
        for kind, value in expected.items()
        if not _agree(found[KINDS[kind]], value.lower(), kind)
    ]


def _agree(digest: str, value: str, kind: str) -> bool:
    return digest.startswith(value) if kind.endswith("_prefix") else digest == value


def format_size(count: float) -> str:
    """A number of bytes for reading: 2.0 GB, 814 MB, 12 kB."""
    for factor, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= factor:
            value = count / factor
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{count:.0f} B"
