"""Every benchmark, one after the other, and what falls short: `python -m benchmarks`.

Each is a process of its own, and what it prints is shown as it comes. Status 1 if a row misses its
target or a benchmark fails.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence

from benchmarks.targets import MISSED

NAMES = ("crf", "growing", "random_walk", "evaluation", "inference", "step", "training", "growth")


def run(command: Sequence[str], name: str) -> list[str]:
    """Run a benchmark and pass on what it prints; returns the rows that fall short."""
    missed = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for text in process.stdout:
            print(text, end="", flush=True)
            if MISSED in text:
                missed.append(f"{name}: {text.strip()}")
    if process.returncode:
        missed.append(f"{name}: ended with status {process.returncode}")
    return missed


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all")
    names = parser.parse_args().names or NAMES
    if unknown := set(names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    missed = []
    for name in names:
        print(f"\n{name}", flush=True)
        missed += run([sys.executable, "-m", f"benchmarks.{name}"], name)
    print("\nFalls short:" if missed else "\nEvery target is reached.", *missed, sep="\n")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
