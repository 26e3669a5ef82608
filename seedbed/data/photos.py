"""A folder of images to predict masks of, and an optional table of their labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from seedbed.data.layouts.folder import IMAGES, class_ids, files_of, identify
from seedbed.data.layouts.labels.table import read_label_table
from seedbed.data.source import raise_problem
from seedbed.data.text import compose, count_with_examples
from seedbed.runtime.errors import UserError


def photos_in(folder: Path) -> dict[str, Path]:
    """The images of a folder by their stem, sorted; other visible files are printed.

    Raises UserError if there is no image, or two differ only in their suffix.
    """
    photos: dict[str, Path] = {}
    for path in files_of(folder, IMAGES):
        stem = compose(path.stem)
        if stem in photos:
            other = photos[stem].name
            raise UserError(f"{folder} holds {other} and {path.name}: rename one of the two")
        photos[stem] = path
    if not photos:
        raise UserError(f"{folder} contains no image ({', '.join(IMAGES)}): name another folder")
    visible = {path.name for path in folder.iterdir() if path.is_file() and path.name[0] != "."}
    others = visible - {path.name for path in photos.values()}
    for line in count_with_examples(f"files in {folder} are no images", others):
        print(line)
    return photos


def tags_of(
    table: Path, photos: Mapping[str, Path], classes: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    """The sorted class ids of every image from a table of labels.

    Args:
        table: the table, see `read_label_table`; labels may be empty.
        photos: what `photos_in` returned.
        classes: class names by class id, background first.

    Raises:
        UserError: if a row does not fit the images or the classes, or an image has no row.

    """
    folder = next(iter(photos.values())).parent
    names = list(classes[1:])
    found = read_label_table(table, classes=names, on_problem=raise_problem).rows
    rows = identify(found, list(photos.values()), folder, raise_problem)
    if missing := [path.name for stem, path in photos.items() if stem not in rows]:
        raise UserError(f"{table} has no row for {missing[0]}: add one for every image")
    return {
        stem: class_ids(row, names, "test", keep_negatives=False, on_problem=raise_problem)
        for stem, (row, _) in rows.items()
    }
