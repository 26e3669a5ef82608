"""Tables of text and lists of JSON as a grid of cells with a header."""

import csv
import json
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from seedbed.data.layouts.labels.cells import Cell, absent_in, names_in
from seedbed.data.layouts.labels.columns import IMAGE, find_columns, key_of
from seedbed.data.layouts.labels.encoding import read_unicode
from seedbed.data.text import compose
from seedbed.runtime.errors import UserError

DELIMITERS = ",;\t|"
COCO_KEYS = {"images", "annotations", "categories"}


@dataclass(frozen=True)
class Grid:
    """A table.

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
    if text.lstrip()[:1] in ("{", "["):
        return _of_json(text, path)
    try:
        rows, first = _cells(text)
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


def _cells(text: str) -> tuple[list[list[str]], int]:
    """All rows of composed, stripped cells from the header on, and the number of the first."""
    first, _, rest = text.partition("\n")
    mark = first.strip().strip('"').lower()
    marked = mark.startswith("sep=") and len(mark) == len("sep=,")
    delimiter = first.strip('\r\n"')[-1] if marked else _delimiter(text)
    reader = csv.reader(StringIO(rest if marked else text, newline=""), delimiter=delimiter)
    rows = [[compose(cell.strip()) for cell in row] for row in reader]
    return rows, 2 if marked else 1


def _delimiter(text: str) -> str:
    """The delimiter by which the first row is a header, preferably of more columns; else ","."""
    head = text.partition("\n")[0].strip("\r")
    headers = {delimiter: next(csv.reader([head], delimiter=delimiter)) for delimiter in DELIMITERS}
    fit = [delimiter for delimiter, header in headers.items() if find_columns(header)]
    return max(fit, key=lambda delimiter: len(headers[delimiter]), default=",")


def _of_json(text: str, path: Path) -> Grid:
    """A list of objects, JSON lines, or an object from file name to labels."""
    word = "record"
    try:
        content = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        word, content = "line", _lines(text)
        if content is None:
            raise UserError(f"cannot read {path}: {error}; save it as CSV in UTF-8") from None
    if isinstance(content, dict) and set(content) >= COCO_KEYS:
        raise UserError(f"{path} is a file of COCO's: name it in convert.coco.instances instead")
    if isinstance(content, dict):
        content = _records(content)
    if not isinstance(content, list) or not all(isinstance(item, dict) for item in content):
        raise UserError(f'{path} holds no list of objects: write [{{"image": …, "labels": […]}}]')
    header = list(dict.fromkeys(key for record in content for key in record))
    return Grid(
        header=header,
        header_place=f"{word} 1 of {path}",
        rows=[[_cell(record.get(key), key) for key in header] for record in content],
        places=[f"{word} {number} of {path}" for number in range(1, len(content) + 1)],
    )


def _lines(text: str) -> list[Any] | None:
    """The values of JSON lines; None if the text is none."""
    try:
        return [json.loads(line, object_pairs_hook=_unique) for line in text.split("\n") if line]
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
    return compose(str(value).strip())
