"""A folder of images to predict masks of, and an optional table of their labels."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seedbed.data.file_names import IMAGES, describe_others, files_of, finder, readable_of
from seedbed.data.layouts.folder import class_ids, identify
from seedbed.data.layouts.labels.table import read_label_table
from seedbed.data.source import raise_problem
from seedbed.data.text import compose, count_with_examples, is_image_id, shown
from seedbed.runtime.errors import UserError


@dataclass(frozen=True)
class Photos:
    """The images of a folder.

    Attributes:
        folder: the folder.
        paths: by their name without suffix (NFC), in the order of the files' names.
        left: what is wrong with images that are left out, by the names of their files.
        notes: remarks on other files and on folders.

    """

    folder: Path
    paths: dict[str, Path]
    left: dict[tuple[str, ...], str]
    notes: list[str]


def photos_in(folder: Path, skip: Path | None = None) -> Photos:
    """Find the images of a folder; of a picture that is stored twice the readable file counts.

    Args:
        folder: the folder; those in it are not searched.
        skip: a folder in it that need not be mentioned.

    Raises:
        UserError: if there is no image.

    """
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in files_of(folder, IMAGES):
        by_stem[compose(path.stem)].append(path)
    if not by_stem:
        raise UserError(f"{folder} contains no image ({', '.join(IMAGES)}): name another folder")
    paths, left, unreadable = {}, {}, []
    for stem, files in by_stem.items():
        readable = readable_of(files)
        unreadable += [path.name for path in files if path not in readable]
        if len(readable) > 1:
            names = tuple(path.name for path in readable)
            written = " and ".join(map(shown, names))
            left[names] = f"{folder} holds {written}, whose masks would have one name: rename one"
        elif not is_image_id(stem):
            name = readable[0].name
            left[name,] = f"{folder}/{name!r} has a name that no mask can have: rename it"
        else:
            paths[stem] = readable[0]
    return Photos(folder, paths, left, _remarks(folder, unreadable, skip))


def _remarks(folder: Path, unreadable: Sequence[str], skip: Path | None) -> list[str]:
    """Lines about what in a folder is no input."""
    folders = [
        path.name
        for path in folder.iterdir()
        if path.is_dir() and path.name[0] != "." and path != skip and files_of(path, IMAGES)
    ]
    return [
        *describe_others(folder, IMAGES, "images"),
        *count_with_examples("files are the same image as another and not read", unreadable),
        *count_with_examples(f"folders in {folder} have images and are not searched", folders),
    ]


def tags_of(table: Path, photos: Photos, classes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The sorted class ids of every image from a table of labels.

    Rows of images that are left out are left out too.

    Args:
        table: the table, see `read_label_table`; labels may be empty.
        photos: the images.
        classes: class names by class id, background first.

    Raises:
        UserError: if a row does not fit the images or the classes, or an image has no row.

    """
    left_out = finder([Path(name) for names in photos.left for name in names])
    names = list(classes[1:])
    table_rows = read_label_table(table, classes=names, on_problem=raise_problem).rows
    rows = [row for row in table_rows if not left_out(row.image)]
    found = identify(rows, list(photos.paths.values()), photos.folder, raise_problem)
    if missing := [path.name for stem, path in photos.paths.items() if stem not in found]:
        raise UserError(f"{table} has no row for {missing[0]}: add one for every image")
    return {
        stem: class_ids(row, names, "test", keep_negatives=False, on_problem=raise_problem)
        for stem, (row, _) in found.items()
    }
