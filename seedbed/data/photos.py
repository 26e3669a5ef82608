"""A folder of photos to label, and perhaps a table that says what is on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from seedbed.data.layouts.folder import IMAGES, class_ids, files_of, identify
from seedbed.data.layouts.label_table import read_label_table
from seedbed.data.source import nfc, refuse, some
from seedbed.runtime.errors import UserError


def photos_in(folder: Path) -> dict[str, Path]:
    """The images of a folder by their stem, sorted; other visible files are named on stdout.

    Raises UserError if there is no image, or if two differ in their suffix alone.
    """
    photos: dict[str, Path] = {}
    for path in files_of(folder, IMAGES):
        stem = nfc(path.stem)
        if stem in photos:
            other = photos[stem].name
            raise UserError(f"{folder} holds {other} and {path.name}: rename one of the two")
        photos[stem] = path
    if not photos:
        raise UserError(f"{folder} holds no image ({', '.join(IMAGES)}): name another folder")
    visible = {path.name for path in folder.iterdir() if path.is_file() and path.name[0] != "."}
    others = visible - {path.name for path in photos.values()}
    for line in some(f"files in {folder} are no images", others):
        print(line)
    return photos


def tags_of(
    table: Path, photos: Mapping[str, Path], classes: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """Sorted class ids of every photo from a CSV table `image,labels`.

    `photos` as `photos_in` gives them; `classes` are the names by class id, background first. An
    image without labels has none. Raises UserError for a table that does not fit the photos and
    the classes, naming the row, or that lacks a photo.
    """
    folder = next(iter(photos.values())).parent
    rows = identify(read_label_table(table, refuse), list(photos.values()), folder, refuse)
    if missing := [path.name for stem, path in photos.items() if stem not in rows]:
        raise UserError(f"{table} has no row for {missing[0]}: add one for every image")
    names = list(classes[1:])
    return {stem: class_ids(row, names, "test", refuse) for stem, (row, _) in rows.items()}
