"""Run every row, each by itself, within a time; print one table and write gpu.json."""

import argparse
import json
import os
import platform
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.gpu.rows import Row
from benchmarks.gpu.table import HEADING, TOPICS, line, rows_of, shortfalls
from seedbed.runtime.atomic import atomic

START_SECONDS = 60.0  # to import torch and start CUDA


def machine(device: str) -> dict[str, str]:
    """What the figures were measured on."""
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor()
    cuda = torch.version.cuda or "none"
    return {"device": name or device, "torch": torch.__version__, "cuda": cuda}


class Run:
    """Rows that are computed by worker processes, until none is left or the time is over."""

    def __init__(
        self,
        rows: Sequence[Row],
        worker: Sequence[str],
        seconds: float,
        save: Callable[[dict[str, dict[str, object]]], None],
    ) -> None:
        self.rows = list(rows)
        self.save = save
        self.worker = worker
        self.end = time.monotonic() + seconds
        self.found: dict[str, dict[str, object]] = {}

    @property
    def left(self) -> list[Row]:
        """Rows without a result."""
        return [row for row in self.rows if row.name not in self.found]

    def all(self) -> None:
        """Start workers until every row has a result or the time is over."""
        while self.left and time.monotonic() < self.end:
            self._one_worker()  # gives at least one row a result

    def _one_worker(self) -> None:
        command = [*self.worker, *(row.name for row in self.left)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                self._read(process)
            finally:
                process.kill()

    def _read(self, process: subprocess.Popen) -> None:
        """Take the worker's lines, until it ends or the row at work takes too long."""
        current, watch = self.left[0], Watch(self.end)
        watch.allow(START_SECONDS)
        for text in lines_until(process, watch):
            message = json.loads(text)
            if "begun" in message:
                current = next(row for row in self.rows if row.name == message["begun"])
                watch.allow(current.limit)
            else:
                self._take(current, message)
                watch.allow(START_SECONDS)
        if current.name in self.found:
            return
        if watch.remaining <= 0:
            self._lose(current, f"given up after {time.monotonic() - watch.began:.0f} s")
        else:
            self._lose(current, f"its process ended with status {process.wait()}")

    def _lose(self, row: Row, reason: str) -> None:
        self._take(row, {"text": reason, "ok": False, "failed": True, "seconds": 0.0, "values": {}})

    def _take(self, row: Row, found: dict[str, object]) -> None:
        self.found[row.name] = {**found, "goal": row.goal}
        self.save(self.found)  # after every row: whoever ends this early loses nothing
        print(line(row, found), flush=True)


class Watch:
    """How long a worker may still say nothing; never beyond the end of the whole run."""

    def __init__(self, end: float) -> None:
        self.end = end
        self.allow(0.0)

    def allow(self, seconds: float) -> None:
        """From now on so many seconds."""
        self.began = time.monotonic()
        self.until = min(self.began + seconds, self.end)

    @property
    def remaining(self) -> float:
        """Seconds that are left."""
        return self.until - time.monotonic()


def lines_until(process: subprocess.Popen, watch: Watch) -> Iterator[bytes]:
    """Yield the lines that a process prints, until it ends or no time remains."""
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (remaining := watch.remaining) > 0:
            if not selector.select(remaining):
                return
            block = os.read(process.stdout.fileno(), 1 << 16)
            if not block:
                return
            *whole, pending = (pending + block).split(b"\n")
            yield from whole


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="bfloat16")
    parser.add_argument("--topics", nargs="+", choices=TOPICS, default=list(TOPICS))
    parser.add_argument("--seconds", type=float, default=450, help="after which rows are left out")
    out = Path(os.environ.get("OUT", "build"))
    parser.add_argument("--out", type=Path, default=out, help="folder of gpu.json; default $OUT")
    return parser.parse_args()


def main() -> None:
    """Run from the command line; status 1 if a row failed or missed its goal."""
    options = parse()
    if options.device == "cuda" and not torch.cuda.is_available():
        sys.exit("benchmarks.gpu: no CUDA device is visible; --device cpu rehearses on small sizes")
    small = options.device == "cpu"
    worker = [sys.executable, "-m", "benchmarks.gpu.worker"]
    worker += [options.device, str(int(small)), options.precision]
    about = machine(options.device) | {"precision": options.precision, "small": small}
    print(
        " ".join(f"{key}: {value};" for key, value in about.items()), f"\n\n{HEADING}", flush=True
    )
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "gpu.json"

    def save(found: dict[str, dict[str, object]]) -> None:
        with atomic(path) as beside:
            beside.write_text(json.dumps({"machine": about, "rows": found}, indent=1) + "\n")

    run = Run(rows_of(options.topics), worker, options.seconds, save)
    run.all()
    for row in run.left:
        print(line(row, None))
    short = shortfalls(run.rows, run.found)
    print("\nFalls short:" if short else "\nEvery goal is reached.", *short, sep="\n")
    print(f"\n{path}")
    sys.exit(bool(short))


if __name__ == "__main__":
    main()
