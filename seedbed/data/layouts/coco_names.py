"""The files and the ids of the images that an annotation file names.

Annotation programs write paths of the machine on which they ran: with backslashes, with a drive, as
web addresses, or, Label Studio, as "/data/local-files/?d=cats/1.jpg" and with eight digits before
the name. The file is found by the end of the path.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from errno import ENAMETOOLONG
from os.path import commonpath
from pathlib import Path, PurePath, PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from seedbed.data.text import compose

LABEL_STUDIO = re.compile(r"[0-9a-f]{8}-(.+)")


class Located(NamedTuple):
    """A file, and the end of its path relative to the folder of images as the annotations say."""

    path: Path
    name: PurePosixPath


def find_file(name: str, find: Callable[[PurePosixPath], Path]) -> Located | None:
    """The file of an image's name in an annotation file; None if it names none.

    Args:
        name: the name as the file has it.
        find: function that returns the path of a file by a path relative to the folder of images;
            it need not exist.

    """
    for end in _ends_of(name):
        if (path := _path_of(end, find)) and path.is_file():
            return Located(path, end)
    whole = PurePosixPath(name)
    path = _path_of(whole, find) if _is_inside(whole) else None
    return Located(path, whole) if path else None


def _path_of(name: PurePosixPath, find: Callable[[PurePosixPath], Path]) -> Path | None:
    """What `find` returns; None for a name that is too long for the file system."""
    try:
        return find(name)
    except OSError as error:
        if error.errno == ENAMETOOLONG:
            return None
        raise


def _ends_of(name: str) -> Iterator[PurePosixPath]:
    """Relative paths that a name may stand for, the longest first."""
    names = dict.fromkeys((name, _without_address(name)))
    paths = [PurePosixPath(re.sub(r"^[A-Za-z]:", "", text.replace("\\", "/"))) for text in names]
    for path in paths:
        parts = [part for part in path.parts if part not in ("/", "//")]
        if ".." in parts:
            parts = parts[len(parts) - parts[::-1].index("..") :]
        for start in range(len(parts)):
            yield PurePosixPath(*parts[start:])
    if match := LABEL_STUDIO.fullmatch(paths[-1].name):
        yield PurePosixPath(match[1])


def _without_address(name: str) -> str:
    """The path in a web address or in one of Label Studio's, with its escapes decoded."""
    try:
        address = urlsplit(name)
    except ValueError:  # such as an unfinished "http://["
        return name
    file = parse_qs(address.query).get("d")
    return file[0] if file else unquote(address.path)


def _is_inside(path: PurePosixPath) -> bool:
    is_relative = bool(path.name) and not path.is_absolute()
    return is_relative and ".." not in path.parts and "\\" not in str(path)


def stem_of(path: PurePath) -> str:
    """The stem of a file in Unicode's composed form."""
    return compose(path.stem)


def image_ids(paths: Sequence[Path]) -> list[str]:
    """The ids of images: their file stems, and for images of equal stems also their folders.

    Folders are those below the folder that all images have in common: "left_001", "right_001".
    `paths` are spelled as ids are to be.
    """
    stems = [stem_of(path) for path in paths]
    counts = Counter(stems)
    root = commonpath([path.parent for path in paths]) if paths else ""

    def with_folders(path: Path) -> str:
        return compose("_".join(path.relative_to(root).with_suffix("").parts))

    return [
        stem if counts[stem] == 1 else with_folders(path)
        for stem, path in zip(stems, paths, strict=True)
    ]
