"""A folder of images for each class, with or without a folder for each split above them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from seedbed.data.layouts.labels.columns import split_named
from seedbed.data.layouts.labels.table import Row
from seedbed.data.source import OnProblem
from seedbed.data.text import compose, count_with_examples, is_image_id, plain_name
from seedbed.runtime.errors import UserError


@dataclass(frozen=True)
class Placed:
    """An image file, the class whose folder it is in ("" if in none), and its split or ""."""

    path: Path
    name: str
    split: str


def read_class_folders(
    folder: Path, suffixes: Sequence[str], on_problem: OnProblem
) -> tuple[dict[str, tuple[Row, Path]], list[str]]:
    """Read images labelled by their folder: `CLASS/…/x.jpg` or `SPLIT/CLASS/…/x.jpg`.

    The same image in several folders has the classes of all of them. Image ids are file stems;
    different images of one stem have the ids `CLASS_stem`. Images in no folder have no class.

    Returns:
        The row and the file of every image id, and remarks.

    Raises:
        UserError: if there is no folder of a class.

    """
    by_stem: dict[str, list[Placed]] = {}
    for placed in _images(folder, suffixes):
        by_stem.setdefault(compose(placed.path.stem), []).append(placed)
    rows: dict[str, tuple[Row, Path]] = {}
    renamed = []
    for stem, found in by_stem.items():
        groups = _of_equal_content(found)
        for group in groups:
            first = group[0]
            prefix = f"{first.name or first.split or 'image'}_" if len(groups) > 1 else ""
            image_id = f"{prefix}{stem}"
            splits = {placed.split for placed in group}
            if not is_image_id(image_id) or image_id in rows:
                on_problem(f"{first.path}: {image_id!r} cannot be its id: rename the file")
            elif len(splits) > 1:
                on_problem(
                    f"{first.path} is also {group[-1].path}, in another split: take one of them out"
                )
            else:
                labels = tuple(dict.fromkeys(placed.name for placed in group if placed.name))
                row = Row(str(first.path), first.path.name, labels, first.split)
                rows[image_id] = row, first.path
                renamed += [image_id] if prefix else []
    what = "images share their name with another one and are called after their folder"
    return rows, count_with_examples(what, renamed)


def _images(folder: Path, suffixes: Sequence[str]) -> Iterator[Placed]:
    """The images in a folder of class folders, or of splits with class folders."""
    tops = _folders(folder)
    splits = [split_named(top.name) for top in tops]
    has_splits = tops and None not in splits
    roots = list(zip(tops, splits, strict=True)) if has_splits else [(folder, "")]
    if not any(_folders(root) for root, _ in roots):
        raise UserError(
            f"{folder} has no folder of a class: put the images of each class in a folder that is "
            "named after it, or name a table in convert.folder.labels"
        )
    for root, split in roots:
        for path in _files(root.iterdir(), suffixes):
            yield Placed(path, "", split)
        for top in _folders(root):
            name = plain_name(top.name)
            for path in _files(top.rglob("*"), suffixes):
                yield Placed(path, "" if name.casefold() == "background" else name, split)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _files(paths: Iterable[Path], suffixes: Sequence[str]) -> list[Path]:
    """The visible images among paths, sorted."""
    return sorted(
        path
        for path in paths
        if path.suffix.lower() in suffixes and path.name[0] != "." and path.is_file()
    )


def _of_equal_content(found: list[Placed]) -> list[list[Placed]]:
    """The images grouped by the content of their files, which is read only if it decides."""
    if len(found) == 1:
        return [found]
    groups: dict[str, list[Placed]] = {}
    for placed in found:
        groups.setdefault(sha256(placed.path.read_bytes()).hexdigest(), []).append(placed)
    return list(groups.values())
