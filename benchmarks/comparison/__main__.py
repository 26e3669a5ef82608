"""Run every system on the photos of voc-animals, and write the table of docs/comparison.md.

`python -m benchmarks.comparison`, or `make comparison`: the systems with training-free saliency,
their ceiling, then the systems with learned saliency, one after the other. What they share is made
once. A run that fails is told at the end, and the others go on; a second call makes only what is
missing or out of date. Minutes and status of each run are added to results/comparison.tsv. To be
called in the project's folder.
"""

import argparse
import shlex
import sys
from pathlib import Path

from benchmarks.comparison.runs import SALIENCIES, SYSTEMS, Project, experiments_of, make_all
from benchmarks.comparison.tables import write_page
from seedbed.runtime.errors import UserError


def parse(arguments: list[str]) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.comparison", description=__doc__)
    parser.add_argument("--data", default="data", help="run.data: photos, weights and maps")
    parser.add_argument("--cores", default="all", help="as of snakemake")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=SYSTEMS)
    parser.add_argument("--saliencies", nargs="+", choices=SALIENCIES, default=SALIENCIES)
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="*",
        default=[],
        help="train the last round of these systems again with these random seeds",
    )
    parser.add_argument(
        "--overlay", type=Path, nargs="*", default=[], help="config files laid over every run"
    )
    parser.add_argument("--folder", default="", help="folder that all results are moved below")
    parser.add_argument(
        "--maps", default="", help="folder of maps of the learned saliency, in --data, made already"
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="print the commands of the runs alone")
    action.add_argument(
        "--write-only", action="store_true", help="write the table from runs that are finished"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Make the runs, then write the page; ends with one line if a run fails."""
    options = parse(arguments)
    project = Project(
        options.data, options.cores, tuple(options.overlay), options.folder, options.maps
    )
    try:
        experiments = experiments_of(options.systems, options.saliencies)
        if options.list:
            for experiment in experiments:
                print(shlex.join(project.command(experiment)))
            return
        if not options.write_only:
            make_all(project, experiments, options.seeds)
        write_page(Path(), project)
    except UserError as error:
        sys.exit(f"python -m benchmarks.comparison: error: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
