"""Room on a disk, asked for before it is needed."""

import shutil
from pathlib import Path

from seedbed.runtime.errors import UserError
from seedbed.runtime.fetching.checksums import format_size


def require_space(folder: Path, count: int, what: str) -> None:
    """Check that a folder's disk has room for `count` more bytes.

    Raises:
        UserError: it has not.

    """
    free = shutil.disk_usage(folder).free
    if count > free:
        raise UserError(
            f"{what} needs {format_size(count)} in {folder}, which has {format_size(free)} left;"
            " make room and run the same command again"
        )
