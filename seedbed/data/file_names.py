"""Files that belong to names, in every folder that a user gives.

The same name is written in several ways: a Mac decomposes letters (Unicode's NFD), cameras and
Windows write capitals, and a list or a table has it as it was typed. A name and a file belong
together if they are equal as NFC, whatever the case of the suffix, or else if they differ in case
only and no other name or file does.
"""

import functools
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from seedbed.data.text import compose, count_with_examples
from seedbed.formats.mask_files import MASK_SUFFIXES
from seedbed.formats.pictures import FORMATS, is_supported
from seedbed.runtime.errors import UserError

IMAGES = (
    *(".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".jfif", ".jpe", ".jif"),
    *(".heic", ".heif", ".avif"),  # some programs name a JPEG so
)
MASKS = MASK_SUFFIXES


def files_of(folder: Path, suffixes: Iterable[str]) -> list[Path]:
    """A folder's visible files with one of the suffixes, in any case, sorted by name."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: put the data there, or name another")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and path.name[0] != "." and path.is_file()
    )


def describe_others(folder: Path, suffixes: Iterable[str], what: str) -> list[str]:
    """A line like "2 files in FOLDER are no images: a.txt, b.csv"; none without such files."""
    visible = [path for path in folder.iterdir() if path.name[0] != "." and path.is_file()]
    others = [path.name for path in visible if path.suffix.lower() not in suffixes]
    return count_with_examples(f"files in {folder} are no {what}", others)


def finder(files: Sequence[Path]) -> Callable[[str], Sequence[Path]]:
    """A function that finds files by a name with or without suffix; several fit if it is unclear.

    Of a name that differs in case from all files, those that it equals otherwise are returned.
    """
    exact: dict[str, list[Path]] = defaultdict(list)
    folded: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        for name in {compose(path.name), compose(path.stem)}:
            exact[name].append(path)
            folded[name.casefold()].append(path)

    def find(name: str) -> Sequence[Path]:
        key = compose(name)
        return readable_of(exact.get(key) or folded.get(key.casefold(), []))

    return find


def path_finder(folder: Path) -> Callable[[PurePosixPath], Path]:
    """A function that finds the image of a path below a folder, whose last name may differ in form.

    It returns the path as given if no file, or more than one, has a name that is equal to it but
    for its form and case.
    """

    @functools.cache
    def files_by_name(parent: Path) -> Callable[[str], Sequence[Path]]:
        return finder(files_of(parent, IMAGES) if parent.is_dir() else [])

    def find(path: PurePosixPath) -> Path:
        if (folder / path).is_file():
            return folder / path
        found = files_by_name((folder / path).parent)(path.name)
        return found[0] if len(found) == 1 else folder / path

    return find


def image_id_of(name: str) -> str:
    """The name of an image or a mask without folders and suffix, in NFC."""
    stem = PurePosixPath(name.replace("\\", "/")).name
    pattern = "|".join(re.escape(suffix) for suffix in IMAGES)
    return compose(re.sub(f"({pattern})$", "", stem, flags=re.IGNORECASE))


def readable_of(paths: Sequence[Path]) -> Sequence[Path]:
    """Of several files of one name, those that can be read: a phone's HEIC lies beside its JPEG."""
    if len(paths) < 2 or not all(path.is_file() for path in paths):
        return paths
    return [path for path in paths if is_supported(path, (*FORMATS, "GIF"))] or paths


class MatchedFolder:
    """A folder in which each of the given names has the file that belongs to it.

    `folder / "name.png"` is the path of that file, as for a `Path`, whatever its exact name is; a
    name without a file has the path that it should have.

    Args:
        folder: the folder.
        names: of files without suffix, in the data set's spelling; all that are wanted, so that
            none gets the file of another.
        suffixes: of the files, lower case; of several files of a name the first suffix counts.

    Attributes:
        paths: the file of each name that has one.
        strays: names of files with one of the suffixes that belong to no name.

    Raises:
        UserError: if there is no folder, two files belong to one name, or it is not certain which.

    """

    def __init__(self, folder: Path, names: Iterable[str], suffixes: Sequence[str]) -> None:
        self.folder, self.suffixes = folder, tuple(suffixes)
        files = files_of(folder, suffixes)
        self.paths = match_names(names, files, suffixes)
        used = set(self.paths.values())
        self.strays = [path.name for path in files if path not in used]

    def __truediv__(self, name: str) -> Path:
        """The path of a file by its name with a suffix."""
        return self.paths.get(name.rpartition(".")[0], self.folder / name)

    def __str__(self) -> str:
        """The path of the folder."""
        return str(self.folder)

    def of(self, name: str) -> Path:
        """The file of a name without suffix, or the path that it should have."""
        return self.paths.get(name, self.folder / f"{name}{self.suffixes[0]}")

    def describe_strays(self, what: str, owners: str) -> list[str]:
        """A line like "3 masks in FOLDER belong to no row: a, b, c"; none without strays."""
        return count_with_examples(f"{what} in {self.folder} belong to no {owners}", self.strays)


def match_names(
    names: Iterable[str], files: Sequence[Path], suffixes: Sequence[str]
) -> dict[str, Path]:
    """The file of each name (without suffix) that has one.

    Raises UserError if it is not certain which file belongs to a name.
    """
    by_name, by_folded = _grouped(files), _grouped(files, fold=True)
    found: dict[str, Path] = {}
    rest: dict[str, list[str]] = defaultdict(list)
    for name in dict.fromkeys(names):
        if candidates := by_name.get(compose(name)):
            found[name] = _only(candidates, name, suffixes)
        else:
            rest[compose(name).casefold()].append(name)
    taken = {path.stem for path in found.values()}
    for folded, wanted in rest.items():
        free = [path for path in by_folded.get(folded, ()) if path.stem not in taken]
        if free and len(wanted) > 1:
            raise UserError(
                f"{free[0]} may belong to {wanted[0]} or to {wanted[1]}, which differ in case only:"
                " rename the file"
            )
        if free:
            found[wanted[0]] = _only(free, wanted[0], suffixes)
    return found


def _grouped(files: Sequence[Path], *, fold: bool = False) -> Mapping[str, list[Path]]:
    """Files by their stem in NFC, and without case if it is folded."""
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        stem = compose(path.stem)
        groups[stem.casefold() if fold else stem].append(path)
    return groups


def _only(candidates: Sequence[Path], name: str, suffixes: Sequence[str]) -> Path:
    """The file of a name, by the order of the suffixes; UserError if two have the first."""
    ranks = [suffixes.index(path.suffix.lower()) for path in candidates]
    best = [path for path, rank in zip(candidates, ranks, strict=True) if rank == min(ranks)]
    if len(best) > 1:
        first, second = best[:2]
        raise UserError(
            f"{first.parent} holds {first.name!r} and {second.name!r} for {name}: take one out"
        )
    return best[0]
