"""Made-up VOC and SBD archives in the published layouts, and weights, on a server of the test."""

import hashlib
import io
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from seedbed.data.mini.dataset import write_mini
from tests.support.file_server import Site

SOURCES = "workflow/sources.yaml"


def archives(folder: Path, *, train: int, val: int, size: int) -> dict[str, bytes]:
    """VOC's and SBD's archives by the name of their source; neither has train_aug.txt."""
    write_mini(folder, seed=0, train=train, val=val, size=size)
    (folder / "VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt").unlink()
    return {
        "voc2012": packed(folder, "VOCdevkit", "w"),
        "sbd": packed(folder, "benchmark_RELEASE", "w:gz"),
    }


def packed(root: Path, name: str, mode: Any) -> bytes:
    """A folder as a tar, with its own name inside."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as tar:
        tar.add(root / name, name)
    return content.getvalue()


def publish(project: Path, site: Site, contents: dict[str, bytes]) -> None:
    """Give the contents at the sources' first addresses, and note their sizes and sha256.

    A run finds them with SEEDBED_MIRROR set to the server's address.
    """
    path = project / SOURCES
    entries = yaml.safe_load(path.read_text())
    for name, content in contents.items():
        address = urlsplit(entries[name]["addresses"][0])
        site.files[f"/{address.netloc}{address.path}"] = content
        entries[name]["size"] = len(content)
        entries[name]["checksums"] = {"sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(yaml.safe_dump(entries))
