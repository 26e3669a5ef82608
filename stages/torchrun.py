"""Runs a training stage in several processes: torchrun, without its own report of a failure."""

import logging
import signal
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from seedbed.training.processes import LOST_PEER


def launch() -> None:
    """Run torchrun's command line; exit with status 1 and one line if a process failed.

    A process that exits with an error has printed its own line; then none is added.
    """
    logging.disable(logging.ERROR)  # torchrun's own report; the processes log as usual
    try:
        torchrun()
    except ChildFailedError as error:
        failures = error.failures.values()
        if any(0 < failure.exitcode != LOST_PEER for failure in failures):
            sys.exit(1)
        # SIGTERM: how torchrun ends the processes that are left.
        ignored = (LOST_PEER, -signal.SIGTERM)
        killed = [f.signal_name() for f in failures if f.exitcode not in ignored]
        how = f"one was killed ({killed[0]})" if killed else "they lost each other"
        sys.exit(
            f"python -m stages.torchrun: error: of the training's processes {how}: lower --cores "
            "if memory is short, and run the same command again, which goes on from the last "
            "checkpoint"
        )


if __name__ == "__main__":
    launch()
