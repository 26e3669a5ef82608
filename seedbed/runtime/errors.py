"""What a command tells its user: errors, which end it, and warnings."""

import functools
import sys


class UserError(Exception):
    """What a user, rather than a developer, can correct; commands end with it.

    The message says what is wrong, in which file, and what to do, in one line.
    """


@functools.cache  # once in a process
def warn_once(message: str) -> None:
    """Print a warning on stderr, each message once."""
    print(f"warning: {message}", file=sys.stderr, flush=True)
