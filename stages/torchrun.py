"""A training's stage in several processes: torchrun, without its own report of what failed."""

import logging
import signal
import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as torchrun

from seedbed.training.processes import LOST


def launch() -> None:
    """Run torchrun's command line; status 1 and at most one line more if a process failed."""
    logging.disable(logging.ERROR)  # of this process alone
    try:
        torchrun()
    except ChildFailedError as error:
        failures = error.failures.values()
        if any(0 < failure.exitcode != LOST for failure in failures):
            sys.exit(1)  # that process has said why
        # torchrun ends by SIGTERM those that are left.
        killed = [f.signal_name() for f in failures if f.exitcode not in (LOST, -signal.SIGTERM)]
        how = f"one was killed ({killed[0]})" if killed else "they lost each other"
        sys.exit(
            f"python -m stages.torchrun: error: of the training's processes {how}: lower --cores "
            "if memory is short, and run the same command again, which goes on from the last "
            "checkpoint"
        )


if __name__ == "__main__":
    launch()
