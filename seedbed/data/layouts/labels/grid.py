"""Tables of text and lists of JSON as a grid of cells with a header."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from seedbed.data.layouts.labels.cells import Cell, absent_in, names_in
from seedbed.data.layouts.labels.columns import IMAGE, find_columns, key_of
from seedbed.data.layouts.labels.encoding import read_unicode
from seedbed.data.text import MAX_LENGTH, compose, shortened
from seedbed.runtime.errors import UserError

DELIMITERS = ",;\t|"
MAX_FIELD = 2**31 - 1  # characters of a cell, of outlines for example, which need not be a name
COCO_KEYS = {"images", "annotations", "categories"}


@dataclass(frozen=True)
class Grid:
    """A table; very long cells are not composed.

    Attributes:
        header: the names of the columns.
        header_place: where the header is, for messages.
        rows: the cells of each row.
        places: where each row is.

    """

    header: list[str]
    header_place: str
    rows: list[list[Cell]]
    places: list[str]


def read_grid(path: Path) -> Grid:
    """Read a CSV table or a JSON file; raises UserError if it is neither."""
    text = read_unicode(path)
    is_json = text.lstrip()[:1] in ("{", "[")
    grid = _of_json(text, path) if is_json else _of_csv(text, path)
    if (longest := max(map(len, grid.header), default=0)) > MAX_LENGTH:
        raise UserError(
            f"{grid.header_place} has a name of {longest} characters: begin it with image,labels"
        )
    return grid


def _of_csv(text: str, path: Path) -> Grid:
    """A CSV table from its header on."""
    try:
        rows, first = _cells(text, path)
    except csv.Error as error:
        raise UserError(f"cannot read {path}: {error}; save it as CSV in UTF-8") from error
    if not rows:
        raise UserError(f"the table {path} is empty: begin it with the row image,labels")
    return Grid(
        header=rows[0],
        header_place=f"row {first} of {path}",
        rows=rows[1:],
        places=[f"row {number} of {path}" for number in range(first + 1, first + len(rows))],
    )


def _lines(text: str) -> list[str]:
    """The lines of a text with their ends, in any of the three forms."""
    return list(StringIO(text, newline=""))


def _cells(text: str, path: Path) -> tuple[list[list[str]], int]:
    """All rows of stripped cells from the header on, and the number of the first."""
    csv.field_size_limit(MAX_FIELD)
    lines = _lines(text)
    first = lines[0].strip("\r\n") if lines else ""
    mark = first.strip().strip('"').lower()
    if mark.startswith("sep=") and len(mark) == len("sep=,"):
        return _rows(lines[1:], first.strip('"')[-1], 2, path), 2
    return _rows(lines, _delimiter(first), 1, path), 1


def _rows(lines: Sequence[str], delimiter: str, start: int, path: Path) -> list[list[str]]:
    """The rows of lines of CSV; the first has the number `start`.

    A quotation mark without its end would join the lines after it to one cell, up to another one.
    Such a row is refused; in a row of one line, stray quotation marks belong to the cells.
    """
    reader = csv.reader([*lines, "\n"], delimiter=delimiter)  # such a mark takes this line too
    rows: list[list[str]] = []
    line = 0
    for cells in reader:
        if reader.line_num > line + 1 and not _is_strict(lines[line : reader.line_num], delimiter):
            cell = next((cell for cell in cells if "\n" in cell or "\r" in cell), cells[-1])
            beginning = shortened(cell.strip().partition("\n")[0].strip(), 30)
            raise UserError(
                f"row {start + len(rows)} of {path} has a quotation mark without its end, before "
                f"{beginning!r}: close it, or take it out"
            )
        line = reader.line_num
        rows.append([_composed(cell) for cell in cells])
    return rows[:-1]


def _is_strict(lines: Sequence[str], delimiter: str) -> bool:
    """Whether lines are rows of CSV in which each quotation mark has its end."""
    try:
        return bool(list(csv.reader(lines, delimiter=delimiter, strict=True)))
    except csv.Error:
        return False


def _composed(text: str) -> str:
    """A composed, stripped cell; a very long one may be in a column that is not read."""
    text = text.strip()
    return compose(text) if len(text) <= MAX_LENGTH else text


def _delimiter(head: str) -> str:
    """The delimiter by which a row is a header, preferably of more columns; else ","."""
    headers = {delimiter: next(csv.reader([head], delimiter=delimiter)) for delimiter in DELIMITERS}
    fit = [delimiter for delimiter, header in headers.items() if find_columns(header)]
    return max(fit, key=lambda delimiter: len(headers[delimiter]), default=",")


def _of_json(text: str, path: Path) -> Grid:
    """A list of objects, JSON lines, or an object from file name to labels."""
    by_line = None
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        if (by_line := _json_lines(text)) is None:
            raise UserError(f"cannot read {path}: {error}; save it as CSV in UTF-8") from None
        content = list(by_line.values())
    if isinstance(content, dict) and set(content) >= COCO_KEYS:
        raise UserError(f"{path} is a file of COCO's: name it in convert.coco.instances instead")
    if isinstance(content, dict):
        content = _records(content)
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise UserError(f'{path} holds no list of objects: write [{{"image": …, "labels": […]}}]')
    header = list(dict.fromkeys(key for record in content for key in record))
    word = "record" if by_line is None else "line"
    places = [f"{word} {n} of {path}" for n in by_line or range(1, len(content) + 1)]
    return Grid(
        header=header,
        header_place=places[0] if places else f"{word} 1 of {path}",
        rows=[[_cell(record.get(key), key) for key in header] for record in content],
        places=places,
    )


def _json_lines(text: str) -> dict[int, Any] | None:
    """The values of JSON lines by the number of their line; None if the text is none."""
    lines = {number: line for number, line in enumerate(_lines(text), 1) if line.strip()}
    try:
        return {n: json.loads(line, object_pairs_hook=_unique) for n, line in lines.items()}
    except (ValueError, RecursionError):
        return None


def _records(content: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of an object: the object itself, its only list of objects, or its pairs."""
    if {key_of(key) for key in content} & set(IMAGE):
        return [content]
    lists = [v for v in content.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
    if len(lists) == 1 and find_columns(list(lists[0][0])):
        return lists[0]
    return [{"image": name, "labels": labels} for name, labels in content.items()]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict of pairs; raises ValueError if a key is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, _ in pairs if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _cell(value: Any, key: str) -> Cell:  # noqa: ANN401 - any JSON value
    """A value as a cell; labels of a list or an object are certain, unless one is absent."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, list | dict):
        if absent_in(value):
            return json.dumps(value)  # for the table, which knows the row
        names = names_in(value)
        return f"{key}: {json.dumps(value)[:40]}" if names is None else names
    return _composed(str(value))
