"""Tables of image-level labels, CSV or JSON: a row for an image, or for each label of an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from seedbed.data.layouts.labels.cells import (
    FLAG,
    Cell,
    absent_in_text,
    first_vector,
    is_doubtful,
    says_no,
    split_column,
)
from seedbed.data.layouts.labels.columns import (
    MEASURES,
    PRESENCE,
    Columns,
    find_columns,
    key_of,
    split_named,
)
from seedbed.data.layouts.labels.grid import Grid, read_grid
from seedbed.data.source import OnProblem
from seedbed.data.text import MAX_LENGTH, count_with_examples, plain_name, shortened
from seedbed.runtime.errors import UserError

BITS = {"1": True, "true": True, "0": False, "false": False, "": False}


@dataclass(frozen=True)
class Row:
    """A row: its place ("row 3 of labels.csv"), file name, class names, and split or ""."""

    place: str
    image: str
    labels: tuple[str, ...]
    split: str


@dataclass(frozen=True)
class Table:
    """The rows of a table, and remarks on what was not used."""

    rows: list[Row]
    notes: list[str]


def read_label_table(path: Path, *, classes: Sequence[str] | None, on_problem: OnProblem) -> Table:
    """Read a table of labels.

    The table is CSV, separated by commas, semicolons, tabs or "|", or JSON: a list of objects,
    lines of them, or an object from file name to labels. It has a column of file names, perhaps one
    of splits, and either labels (see `split_column`) or a column of 0 and 1 for each class.
    Rows count from 1, the header included, as in a spreadsheet.

    Args:
        path: the table.
        classes: names of the classes, if they are given; they are never split.
        on_problem: called for rows with too many cells or a very long one that is read, another
            split, a doubtful label or one of an absent class, which are left out.

    Raises:
        UserError: if the file is not such a table, or its labels are vectors of 0 and 1 without
            names of classes.

    """
    grid = read_grid(path)
    columns = find_columns(grid.header)
    if columns is None:
        found = ",".join(grid.header)
        raise UserError(
            f"{grid.header_place} is {found!r}: write image,labels or image,labels,split"
        )
    grid = _short_rows(_whole_rows(grid, on_problem), columns, on_problem)
    grid = _present_rows(grid, columns, on_problem)
    if columns.labels:
        _check_names(grid, columns, path)
        notes = _unused(grid, columns, path)
        labels = _labels(grid, columns, set(classes or ()))
    else:
        labels, notes = _one_hot(grid, columns, path)
    names = {name for row in labels for name in row}
    rows = []
    for cells, place, found in zip(grid.rows, grid.places, labels, strict=True):
        row = Row(place, str(cells[columns.image]), found, _split(cells, columns))
        doubtful = [name for name in found if is_doubtful(name, classes or (), names)]
        if row.split not in ("", "train", "val", "test"):
            on_problem(f"{place}: {row.split!r} is not a split: write train, val or test")
        elif doubtful:
            on_problem(
                f"{place}: {doubtful[0]!r} is no certain name of one class: separate labels by ;, "
                "leave the cell of an image without a class empty, or list it in convert.classes"
            )
        elif any(cells):
            rows.append(row)
    return Table(rows, notes)


def _whole_rows(grid: Grid, on_problem: OnProblem) -> Grid:
    """The grid without rows that have too many cells; shorter rows are filled."""
    width, rows, places = len(grid.header), [], []
    for cells, place in zip(grid.rows, grid.places, strict=True):
        if any(cells[width:]):
            on_problem(f"{place} has {len(cells)} cells: separate labels by blanks or ;")
        else:
            rows.append([*cells, *[""] * width][:width])
            places.append(place)
    return Grid(grid.header, grid.header_place, rows, places)


def _short_rows(grid: Grid, columns: Columns, on_problem: OnProblem) -> Grid:
    """The grid without rows that have a very long cell in a column of names."""
    read = {columns.image, *columns.labels, columns.split, columns.is_val} - {None}
    read |= {place for place in columns.others if key_of(grid.header[place]) in PRESENCE}
    rows, places = [], []
    for cells, place in zip(grid.rows, grid.places, strict=True):
        longest = max(read, key=lambda k: _length(cells[k]))
        if (length := _length(cells[longest])) > MAX_LENGTH:
            on_problem(
                f"{place} has {length} characters in the column {grid.header[longest]!r}: shorten "
                "the name or label"
            )
        else:
            rows.append(cells)
            places.append(place)
    return Grid(grid.header, grid.header_place, rows, places)


def _length(cell: Cell) -> int:
    """The length of a cell's text, or of the longest label in it."""
    return len(cell) if isinstance(cell, str) else max(map(len, cell), default=0)


def _present_rows(grid: Grid, columns: Columns, on_problem: OnProblem) -> Grid:
    """The grid without rows that say of a class that it is absent."""
    keys = {place: key_of(grid.header[place]) for place in columns.others}
    flags = [place for place, key in keys.items() if key in PRESENCE]
    if not columns.labels:  # then another column of 0 and 1 is a class, whatever its name
        flags = [place for place in flags if keys[place] in MEASURES]
    classes = [place for place, key in keys.items() if key not in MEASURES]
    rows, places = [], []
    for cells, place in zip(grid.rows, grid.places, strict=True):
        labels = [cells[k] for k in columns.labels or classes if cells[k]]
        has_label = bool(labels) if columns.labels else any(map(_bit, labels))
        said = _absent_object(labels)
        if has_label and not said:
            said = _absent_row({grid.header[k]: cells[k] for k in flags})
        if said:
            on_problem(f"{place}: {said}")
        else:
            rows.append(cells)
            places.append(place)
    return Grid(grid.header, grid.header_place, rows, places)


def _absent_object(labels: Sequence[Cell]) -> str | None:
    """What an object in a cell says of an absent class, and what to do; None if none does."""
    for cell in labels:
        if isinstance(cell, str) and (found := absent_in_text(cell)):
            name, key, value = found
            return (
                f"{key!r} of {name!r} is {value}, as of an absent class: remove the objects of "
                "absent classes, or the key if it says something else"
            )
    return None


def _absent_row(flags: Mapping[str, Cell]) -> str | None:
    """What a column, by its name, says of an absent class, and what to do; None if none does."""
    for name, cell in flags.items():
        if says_no(cell):
            return (
                f"{name!r} is {cell}, as of an absent class: remove the rows of absent classes, or "
                "the column if it says something else"
            )
    return None


def _check_names(grid: Grid, columns: Columns, path: Path) -> None:
    """Raise UserError if the columns of labels hold 0 and 1 for classes that are not named."""
    by_column = [[cells[place] for cells in grid.rows] for place in columns.labels]
    values = [str(cell) for cell in chain(*by_column) if cell]
    if len(by_column) > 1 and values and all(map(FLAG.fullmatch, values)):
        names = ", ".join(grid.header[place] for place in columns.labels)
        raise UserError(
            f"the columns {names} of {path} hold nothing but 0 and 1: name each after its class, "
            "or write the names of the classes"
        )
    for cells in by_column:
        if found := first_vector(cells):
            first, length = found
            text = cells[first] if isinstance(cells[first], str) else " ".join(cells[first])
            raise UserError(
                f"{grid.places[first]}: {text[:40]!r} lists {length} values of 0 and 1, as all "
                "rows do, and no names: write the names of the classes, or a column of 0 and 1 for "
                "each class, named after it"
            )


def _labels(grid: Grid, columns: Columns, known: set[str]) -> list[tuple[str, ...]]:
    """The labels of each row, from one or several columns."""
    parts = [
        split_column([cells[place] for cells in grid.rows], many=columns.many, known=known)
        for place in columns.labels
    ]
    return [tuple(dict.fromkeys(chain(*found))) for found in zip(*parts, strict=True)]


def _one_hot(grid: Grid, columns: Columns, path: Path) -> tuple[list[tuple[str, ...]], list[str]]:
    """The labels of each row of 0 and 1, and a note of columns that are no classes."""
    chosen, unused = [], []
    for place in columns.others:
        values = [_bit(cells[place]) for cells in grid.rows]
        name = plain_name(grid.header[place])
        if None not in values and values and key_of(name) not in MEASURES:
            chosen.append((name, values))
        elif key_of(name) in MEASURES:
            unused.append(name)
        else:
            wrong = grid.rows[values.index(None)][place] if values else ""
            raise UserError(
                f"the column {name!r} of {path} holds {shortened(str(wrong))!r}: write 0 or 1 in "
                "the column of a class, or name the column of the classes labels"
            )
    if not chosen:
        raise UserError(f"{path} has no column of labels: write image,labels or image,labels,split")
    labels = [
        tuple(name for name, values in chosen if values[k] and name.casefold() != "background")
        for k in range(len(grid.rows))
    ]
    return labels, count_with_examples(f"columns of {path} are not used", unused)


def _unused(grid: Grid, columns: Columns, path: Path) -> list[str]:
    """A note of the columns that are not used; UserError if one looks like the splits."""
    for place in columns.others:
        found = {split_named(str(cells[place])) for cells in grid.rows if cells[place]}
        if columns.split is None and columns.is_val is None and found and None not in found:
            raise UserError(
                f"the column {grid.header[place]!r} of {path} holds names of splits: name it split"
            )
    unused = (grid.header[place] for place in columns.others)
    return count_with_examples(f"columns of {path} are not used", unused)


def _split(cells: Sequence[Cell], columns: Columns) -> str:
    """A row's split, "" if it has none; another text as it is."""
    if columns.split is not None:
        text = str(cells[columns.split])
        return split_named(text) or text
    if columns.is_val is not None:
        bit = _bit(cells[columns.is_val])
        return str(cells[columns.is_val]) if bit is None else ("val" if bit else "train")
    return ""


def _bit(cell: Cell) -> bool | None:
    """Whether a cell says yes; None if it says neither yes nor no."""
    text = str(cell).casefold()
    return BITS.get(text.removesuffix(".0"))
