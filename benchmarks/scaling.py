"""What planning, the index and the map files cost as images and shards grow; no image is needed.

Each line of the tables is measured in processes of its own: CPU time (user and system, so that a
busy machine changes little) and the most memory held at a time.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
MAPS_A_SHARD = 10
# VOC's 20 classes and usual size; every third image has two tags, one in eight is for val.
WRITE_INDEX = """
import hashlib, sys
from pathlib import Path
from seedbed.data.index import ClassInfo, ImageEntry, Index
def entry(k):
    tags = tuple(sorted({1 + k % 20, 1 + k // 20 % 20} if k % 3 == 0 else {1 + k % 20}))
    name, split = f"2012_{k:08d}", "train" if k % 8 else "val"
    digest = hashlib.sha256(name.encode()).hexdigest()
    return ImageEntry(name, f"JPEGImages/{name}.jpg", 375, 500, tags, split, k % 8 == 0, digest)
classes = tuple(ClassInfo(f"class {k}", k) for k in range(1, 21))
Index(classes, tuple(map(entry, range(int(sys.argv[2])))), "annotations").save(Path(sys.argv[1]))
"""
LOAD_INDEX = """
import sys
from pathlib import Path
from seedbed.data.index import Index
Index.load(Path(sys.argv[1]))
"""
WRITE_MAPS = """
import sys
from pathlib import Path
import numpy as np
from seedbed.formats.maps import write_maps
folder, files, maps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
for file in range(1, files + 1):
    with write_maps(folder / f"{file}-of-{files}.h5") as written:
        for k in range(maps):
            written.put(f"2012_{k * files + file:08d}", np.zeros((8, 8), np.uint8), classes=[0, 1])
"""
# In the order of the index, which goes from file to file.
READ_MAPS = """
import sys
from pathlib import Path
from seedbed.formats.maps import Maps
folder, files, maps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
found = Maps([folder / f"{file}-of-{files}.h5" for file in range(1, files + 1)])
for k in range(files * maps):
    found[f"2012_{k + 1:08d}"]
"""


class Cost(NamedTuple):
    """CPU seconds and peak memory in MB of a process; whether it was stopped at the limit."""

    seconds: float
    megabytes: float
    stopped: bool

    def __str__(self) -> str:
        if self.stopped:
            return f"stopped after {self.seconds:.0f} s"
        return f"{self.seconds:.1f} s, {self.megabytes:.0f} MB"


def measure(command: Sequence[str], limit: float, output: Path) -> Cost:
    """Run a command in the project's folder, at most `limit` seconds of wall time.

    `output` receives what it prints. Raises RuntimeError if the command fails by itself.
    """
    with output.open("w") as stream:
        process = subprocess.Popen(command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT)
        timer = threading.Timer(limit, process.kill)
        timer.start()
        _, status, used = os.wait4(process.pid, 0)
        stopped = not timer.is_alive()
        timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode and not stopped:
        raise RuntimeError(f"{command[:3]} failed: {output.read_text()[-2000:]}")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, stopped)


def python(program: str, *arguments: object) -> list[str]:
    """The command of a program text."""
    return [sys.executable, "-c", program, *map(str, arguments)]


def plan(shards: int, results: Path, *options: str) -> list[str]:
    """The command that plans the default run from nothing."""
    config = [f"run={{shards: {shards}}}", f"pathvars={{results: {results}}}"]
    snakemake = [sys.executable, "-m", "snakemake", "--cores", "2"]
    return [*snakemake, *options, "--config", *config]


def index_row(images: int, limit: float, folder: Path) -> list[object]:
    """Cost of writing and of loading an index."""
    path, log = folder / "index.json", folder / "log"
    written = measure(python(WRITE_INDEX, path, images), limit, log)
    if written.stopped:
        return [images, written, "", ""]
    loaded = measure(python(LOAD_INDEX, path), limit, log)
    return [images, written, loaded, f"{path.stat().st_size / 1e6:.0f} MB"]


def file_row(images: int, limit: float, folder: Path) -> list[object]:
    """Cost of one file that holds a map of every image: masks, targets, cues."""
    written = measure(python(WRITE_MAPS, folder, 1, images), limit, folder / "log")
    if written.stopped:
        return [images, written, "", ""]
    read = measure(python(READ_MAPS, folder, 1, images), limit, folder / "log")
    size = (folder / "1-of-1.h5").stat().st_size
    return [images, written, read, f"{size / images:.0f} bytes"]


def plan_row(shards: int, limit: float, folder: Path) -> list[object]:
    """Cost of the DAG alone and of a dry run; its jobs and the longest command in bytes."""
    results, output = folder / "results", folder / "output"
    built = measure(plan(shards, results, "--rulegraph"), limit, output)
    dry = measure(plan(shards, results, "--dry-run", "--printshellcmds"), limit, output)
    jobs, longest = "", ""
    if not dry.stopped:
        longest = 0
        with output.open() as lines:  # not at once: a child's peak would count this process' too
            for line in lines:
                if total := re.match(r"total +(\d+)$", line):
                    jobs = total[1]
                if "python -m" in line:
                    longest = max(longest, len(line.encode()))
    return [shards, jobs, built, dry, longest]


def shard_row(shards: int, limit: float, folder: Path) -> list[object]:
    """Cost of reading all maps of a step that is cut in shards."""
    made = measure(python(WRITE_MAPS, folder, shards, MAPS_A_SHARD), limit, folder / "log")
    if made.stopped:
        return [shards, made, ""]
    read = measure(python(READ_MAPS, folder, shards, MAPS_A_SHARD), limit, folder / "log")
    return [shards, shards * MAPS_A_SHARD, read]


TABLES = {
    "images": (
        (index_row, ["images", "write the index", "load it", "size"]),
        (file_row, ["images", "write a map of each into a file", "read all", "size of each"]),
    ),
    "shards": (
        (plan_row, ["shards", "jobs", "DAG", "dry run", "longest command, bytes"]),
        (shard_row, ["shards", "maps", "read the maps of all shards"]),
    ),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--shards", type=int, nargs="*", default=[16, 256, 4096])
    parser.add_argument("--limit", type=float, default=900, help="seconds a measurement may take")
    options = parser.parse_args()
    for name, tables in TABLES.items():
        for row, heading in tables:
            print(f"\n| {' | '.join(heading)} |\n{'|---' * len(heading)}|")
            for count in getattr(options, name):
                with tempfile.TemporaryDirectory() as folder:
                    cells = row(count, options.limit, Path(folder))
                print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
