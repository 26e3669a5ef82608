"""Files and folders of Google Drive, by the package gdown.

Drive answers with a page that asks for a confirmation, or with one about a quota; gdown knows these
pages, and is an optional extra of the project.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

from seedbed.runtime.fetching.http import TIMEOUTS, AddressError

SCHEME = "gdrive:"  # of an address: a file
FOLDER_SCHEME = "gdrive-folder:"
OPTIONS = {"timeout": TIMEOUTS, "use_cookies": False}


def is_drive(address: str) -> bool:
    """Whether an address is one of Google Drive's, `gdrive:ID` or `gdrive-folder:ID`."""
    return address.startswith((SCHEME, FOLDER_SCHEME))


def web_address(address: str) -> str:
    """The page of a file or folder, for a browser."""
    scheme, _, identifier = address.partition(":")
    kind = "drive/folders" if scheme == "gdrive-folder" else "file/d"
    return f"https://drive.google.com/{kind}/{identifier}"


def transfer_from_drive(address: str, part: Path, name: str) -> None:
    """Bring a file of Google Drive to `part`.

    Args:
        address: `gdrive:ID`, or `gdrive-folder:ID` of a folder that holds the file.
        part: the file that is written.
        name: the file's name, which is looked for in a folder.

    Raises:
        AddressError: gdown is not installed, or does not get the file.

    """
    if address.startswith(SCHEME):
        with _errors_of_gdown() as gdown:
            gdown.download(id=address.removeprefix(SCHEME), output=str(part), **OPTIONS)
        return
    with TemporaryDirectory(dir=part.parent) as folder:
        transfer_folder(address, Path(folder))
        found = next(Path(folder).rglob(name), None)
        if found is None:
            raise AddressError(f"the folder holds no {name}")
        found.replace(part)


def transfer_folder(address: str, folder: Path) -> None:
    """Bring all files of `gdrive-folder:ID` to a folder; raises AddressError."""
    with _errors_of_gdown() as gdown:
        identifier = address.removeprefix(FOLDER_SCHEME)
        gdown.download_folder(id=identifier, output=str(folder), **OPTIONS)


@contextmanager
def _errors_of_gdown() -> Iterator[ModuleType]:
    """Yield gdown; whatever it raises becomes an AddressError."""
    try:
        import gdown
    except ImportError:
        raise AddressError(
            "Google Drive needs the package gdown (pip install 'seedbed[fetch]')"
        ) from None
    try:
        yield gdown
    except Exception as error:  # gdown's own, those of requests, and those of parsing its pages
        raise AddressError(f"Google Drive: {' '.join(str(error).split())[:200]}") from error
