"""Tables of image-level labels: CSV with columns `image`, `labels` and optionally `split`."""

import csv
from dataclasses import dataclass
from pathlib import Path

from seedbed.data.index import SPLITS
from seedbed.data.source import OnProblem
from seedbed.data.text import compose
from seedbed.runtime.errors import UserError

COLUMNS = ("image", "labels", "split")


@dataclass(frozen=True)
class Row:
    """A row: its place ("row 3 of labels.csv"), file name, class names, and split or ""."""

    place: str
    image: str
    labels: tuple[str, ...]
    split: str


def read_label_table(path: Path, on_problem: OnProblem) -> list[Row]:
    """Read the rows that are not empty; the header is row 1, as in a spreadsheet.

    Labels are separated by ";" if any row has one, else by blanks. A byte order mark, any line
    ends and empty rows are allowed.

    Args:
        path: the table.
        on_problem: called for rows with too many cells or another split, which are left out.

    Raises:
        UserError: if the file is not such a table.

    """
    header, *rows = _read_cells(path)
    if not {"image", "labels"} <= set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        raise UserError(
            f"row 1 of {path} is {','.join(header)!r}: write image,labels or image,labels,split"
        )
    column = header.index("labels")
    labels = [cells[column] for cells in rows if len(cells) > column]
    separator = ";" if any(";" in cell for cell in labels) else None
    table = []
    for number, cells in enumerate(rows, 2):
        row = _row(f"row {number} of {path}", header, cells, separator)
        if any(cells[len(header) :]):
            on_problem(f"{row.place} has {len(cells)} cells: separate labels by blanks or ;")
        elif row.split not in ("", *SPLITS):
            on_problem(f"{row.place}: {row.split!r} is not a split: write train, val or test")
        elif any(cells):
            table.append(row)
    return table


def _row(place: str, header: list[str], cells: list[str], separator: str | None) -> Row:
    cell = dict.fromkeys(COLUMNS, "") | dict(zip(header, cells, strict=False))
    labels = (label.strip() for label in cell["labels"].split(separator))
    return Row(place, cell["image"], tuple(filter(None, labels)), cell["split"])


def _read_cells(path: Path) -> list[list[str]]:
    """All rows of stripped cells; the first is the header in lower case."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[compose(cell.strip()) for cell in row] for row in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}; save it as CSV in UTF-8") from error
    if not rows:
        raise UserError(f"the table {path} is empty: begin it with the row image,labels")
    return [[cell.lower() for cell in rows[0]], *rows[1:]]
