"""Run the default run, its ceiling and its control; write figures and pictures into the pages.

`python -m benchmarks.figures`, or `make figures`: for the data sets of the generator seeds 0, 1
and 2. It takes 40 minutes on 2 CPU cores; a second call makes only what is missing or out of date.
To be called in the project's folder. What the pages say of single scenes is written by hand: look
at the pictures afterwards, and correct it.
"""

import argparse
import shlex
import sys
from pathlib import Path

from benchmarks.figures.pages import write_pages
from benchmarks.figures.pictures import DATA, FOLDER, TRAIN, VAL, Scenes, write_pictures
from benchmarks.figures.results import Results
from benchmarks.figures.runs import make_all
from seedbed.runtime.errors import UserError


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description=__doc__)
    parser.add_argument(
        "--results", type=Path, default=Path("results/figures"), help="folder of the runs"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="generator seeds of the data sets"
    )
    parser.add_argument("--cores", default="all", help="as of snakemake")
    parser.add_argument(
        "--overlay", type=Path, nargs="*", default=[], help="config files laid over every run"
    )
    parser.add_argument(
        "--write-only", action="store_true", help="write the pages from runs that are finished"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Make the runs, then write the pages; ends with one line if a run fails."""
    options = parse(arguments)
    command = shlex.join(["python", "-m", "benchmarks.figures", *arguments])
    try:
        if not options.write_only:
            make_all(
                options.results,
                options.seeds,
                cores=options.cores,
                overlays=options.overlay,
                command=command,
            )
        results = Results.read(options.results, options.seeds)
        scenes = Scenes(results.default[0].folder, DATA)
        shown = {"train": scenes.chosen(TRAIN), "val": scenes.chosen(VAL)}
        write_pages(Path(), results)
        write_pictures(FOLDER, scenes, **shown)
    except UserError as error:
        sys.exit(f"python -m benchmarks.figures: error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
