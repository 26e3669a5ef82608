"""Where the project and its data lie, and who runs it, in the forms that the workflow needs."""

import getpass
import os
from pathlib import Path

from seedbed.runtime.errors import UserError


def place_of(path: str) -> str:
    """A path without `./` and the like, and relative where it lies below the working folder."""
    normal = os.path.normpath(path)
    return _below(Path.cwd(), Path(os.path.normpath(Path(path).absolute())), normal)


def real_place_of(path: str) -> str:
    """The same without symbolic links."""
    real = Path(path).resolve()
    return _below(Path.cwd().resolve(), real, str(real))


def _below(folder: Path, path: Path, otherwise: str) -> str:
    """The path relative to a folder that it lies in; `otherwise` if it does not."""
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else otherwise


def colon_free(folder: Path) -> str:
    """The folder's path, for a list of folders such as PATH; UserError if it holds a colon."""
    if ":" in str(folder):
        raise UserError(
            f"{folder}: Python and the shell find nothing in a folder with a colon in its path; "
            "move it"
        )
    return str(folder)


def ensure_user_name() -> None:
    """Give the user a name if the system knows none, as in a container: Snakemake asks for it."""
    try:
        getpass.getuser()
    except (KeyError, OSError):
        os.environ["USER"] = f"uid-{os.getuid()}"
