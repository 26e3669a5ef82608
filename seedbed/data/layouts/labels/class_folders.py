"""A folder of images for each class, with or without a folder for each split above them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from seedbed.data.file_names import files_of
from seedbed.data.layouts.labels.columns import split_named
from seedbed.data.layouts.labels.table import Row
from seedbed.data.source import OnProblem
from seedbed.data.text import compose, count_with_examples, is_image_id, plain_name
from seedbed.runtime.errors import UserError

# Folders of previews, metadata and deleted files: a NAS's, macOS's in archives, and Windows'.
MADE_BY_SYSTEMS = ("@eaDir", "#recycle", "@Recycle", "__MACOSX", "$RECYCLE.BIN")


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
    Hidden folders, those that systems make, and folders without an image are left out.

    Returns:
        The row and the file of every image id, and remarks.

    Raises:
        UserError: if there is no folder of a class, or one beside splits that is no split.

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
    tops = _folders(folder, suffixes)
    splits = {top: split_named(top.name) for top in tops}
    if tops and None not in splits.values():
        roots = [(top, split or "") for top, split in splits.items()]
    else:
        _check_splits(folder, splits, suffixes)
        roots = [(folder, "")]
    if not any(_folders(root, suffixes) for root, _ in roots):
        raise UserError(
            f"{folder} has no folder of a class: put the images of each class in a folder that is "
            "named after it, or name a table in convert.folder.labels"
        )
    for root, split in roots:
        for path in files_of(root, suffixes):
            yield Placed(path, "", split)
        for top in _folders(root, suffixes):
            name = plain_name(top.name)
            for path in sorted(_files(top, suffixes)):
                yield Placed(path, "" if name.casefold() == "background" else name, split)


def _check_splits(folder: Path, splits: Mapping[Path, str | None], suffixes: Sequence[str]) -> None:
    """Raise UserError if some of the folders seem to be splits, as they hold folders themselves."""
    others = [top.name for top, split in splits.items() if split is None]
    named = [top for top, split in splits.items() if split]
    if named and all(_folders(top, suffixes) for top in named):
        names = " and ".join(top.name for top in named)
        raise UserError(
            f"{folder} has folders in {names}, as splits have, and beside that {others[0]!r}, no "
            "split: move it elsewhere; if all are classes, put their images directly into them"
        )


def _folders(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The visible folders in a folder that have images in them or below, sorted."""
    return [path for path in _visible_in(folder) if _has_image(path, suffixes)]


def _visible_in(folder: Path) -> list[Path]:
    """The visible folders in a folder, sorted; links to folders too."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and _is_visible(path.name))


def _has_image(folder: Path, suffixes: Sequence[str]) -> bool:
    # Folders of a split may be links, into which a search from above does not go.
    return any(any(_files(path, suffixes)) for path in (folder, *_visible_in(folder)))


def _files(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """The images in a folder and below, but those that are hidden or in a hidden folder."""
    return (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in suffixes
        and all(map(_is_visible, path.relative_to(folder).parts))
        and path.is_file()
    )


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in MADE_BY_SYSTEMS


def _of_equal_content(found: list[Placed]) -> list[list[Placed]]:
    """The images grouped by the content of their files, which is read only if it decides."""
    if len(found) == 1:
        return [found]
    groups: dict[str, list[Placed]] = {}
    for placed in found:
        groups.setdefault(sha256(placed.path.read_bytes()).hexdigest(), []).append(placed)
    return list(groups.values())
