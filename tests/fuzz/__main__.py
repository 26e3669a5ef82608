"""Fuzz one reader under coverage: `python -m tests.fuzz NAME --seconds 600`.

An input that breaks the contract, and does so again on its own, goes to tests/corpus/NAME.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.guard import MEMORY, SECONDS

CORPUS = Path(__file__).parents[1] / "corpus"
ROOT = CORPUS.parents[1]
LONGEST_FILE = 10_000


class Outcome(NamedTuple):
    """What a run of the fuzzer came to."""

    executions: int
    features: int
    found: list[Path]


def fuzz(name: str, seconds: int, seed: int = 1) -> Outcome:
    """Fuzz a target until the time is over or something is found."""
    with tempfile.TemporaryDirectory(prefix="seedbed-fuzz-") as folder:
        inputs, faults = (Path(folder) / part for part in ("inputs", "faults"))
        for place in (inputs, faults):
            place.mkdir()
        ended = _atheris(
            name,
            Path(folder) / "work",
            inputs,
            *(f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={faults}/"),
            *(f"-rss_limit_mb={MEMORY >> 20}", f"-timeout={SECONDS}", f"-max_len={LONGEST_FILE}"),
            "-print_final_stats=1",
        )
        sys.stderr.write(ended.stderr[-6000:])
        found = []
        for fault in sorted(faults.iterdir()):
            if not fault.name.startswith("slow") and _breaks(name, fault, Path(folder) / "again"):
                found.append(_kept(name, fault))
        if ended.returncode and not any(faults.iterdir()):
            raise RuntimeError(f"the fuzzer of {name} ended with {ended.returncode}")
        return Outcome(*_figures(ended.stderr), found)


def _atheris(name: str, work: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    work.mkdir()
    command = [sys.executable, "-m", "tests.fuzz.atheris_loop", name, str(work)]
    return subprocess.run(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        text=True,
        errors="replace",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )


def _breaks(name: str, fault: Path, work: Path) -> bool:
    shutil.rmtree(work, ignore_errors=True)
    limits = f"-rss_limit_mb={MEMORY >> 20}", f"-timeout={SECONDS}"
    return _atheris(name, work, *limits, fault).returncode != 0


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


def main() -> None:
    """Fuzz from the command line; status 1 if there is a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    outcome = fuzz(options.name, options.seconds, options.seed)
    print(
        f"{options.name}: {outcome.executions} executions in {options.seconds} s, "
        f"{outcome.features} features, {len(outcome.found)} findings, seed {options.seed}"
    )
    sys.exit(1 if outcome.found else 0)


if __name__ == "__main__":
    main()
