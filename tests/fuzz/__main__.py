"""Fuzz one reader under coverage: `python -m tests.fuzz NAME --seconds 600`.

An input that breaks the contract, and does so again on its own, goes to tests/corpus/NAME.
"""

import argparse
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.guard import SECONDS

CORPUS = Path(__file__).parents[1] / "corpus"
ROOT = CORPUS.parents[1]
LONGEST_FILE = 10_000


class Outcome(NamedTuple):
    """What a run of the fuzzer came to; `passing` are faults that did not happen again."""

    executions: int
    features: int
    seconds: float
    passing: int
    found: list[Path]


def fuzz(name: str, seconds: int, seed: int = 1) -> Outcome:
    """Fuzz a target until the time is over or something is found."""
    begun, executions, features, passing = time.monotonic(), 0, 0, 0
    found: list[Path] = []
    with tempfile.TemporaryDirectory(prefix="seedbed-fuzz-") as folder:
        inputs, faults = (Path(folder) / part for part in ("inputs", "faults"))
        inputs.mkdir()
        # After a fault that passes, as of a busy machine, it goes on from the inputs it has.
        while not found and (left := seconds - (time.monotonic() - begun)) > 0:
            faults.mkdir()
            ended = _atheris(
                name,
                Path(folder) / "work",
                inputs,
                *(f"-max_total_time={math.ceil(left)}", f"-seed={seed + passing}"),
                *(f"-artifact_prefix={faults}/", f"-max_len={LONGEST_FILE}"),
                "-print_final_stats=1",
            )
            sys.stderr.write(ended.stderr[-6000:])
            if ended.returncode and not any(faults.iterdir()):
                raise RuntimeError(f"the fuzzer of {name} ended with {ended.returncode}")
            for fault in sorted(faults.iterdir()):
                if fault.name.startswith("slow"):
                    continue
                if _breaks(name, fault, Path(folder) / "again"):
                    found.append(_kept(name, fault))
                else:
                    passing += 1
            tried, features = _figures(ended.stderr)
            executions += tried
            shutil.rmtree(faults)
    return Outcome(executions, features, time.monotonic() - begun, passing, found)


def _atheris(name: str, work: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the fuzzer; memory is limited by the guard, of which it knows nothing."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    command = [sys.executable, "-m", "tests.fuzz.atheris_loop", name, str(work)]
    limits = "-rss_limit_mb=0", f"-timeout={SECONDS}"
    return subprocess.run(
        [*command, *limits, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        errors="replace",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )


def _breaks(name: str, fault: Path, work: Path) -> bool:
    return _atheris(name, work, fault).returncode != 0


def _kept(name: str, fault: Path) -> Path:
    kept = CORPUS / name / fault.name[:24]
    kept.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(fault, kept))


def _figures(log: str) -> tuple[int, int]:
    """Executions and features of coverage, from libFuzzer's log."""
    executions = re.findall(r"^stat::number_of_executed_units:\s*(\d+)", log, re.MULTILINE)
    rows = re.findall(r"^#(\d+)\s.*\bft: (\d+)", log, re.MULTILINE)
    last = rows[-1] if rows else (0, 0)
    return int(executions[-1] if executions else last[0]), int(last[1])


def told(outcome: Outcome) -> str:
    """An outcome in a line."""
    return (
        f"{outcome.executions} executions in {outcome.seconds:.0f} s, {outcome.features} coverage "
        f"features, {outcome.passing} faults that passed, {len(outcome.found)} findings"
    )


def main() -> None:
    """Fuzz from the command line; status 1 if there is a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcome = fuzz(options.name, options.seconds, options.seed)
    print(f"{options.name}: {told(outcome)}, seed {options.seed}")
    sys.exit(1 if outcome.found else 0)


if __name__ == "__main__":
    main()
