"""A table of image-level labels: CSV with the columns `image` and `labels`, and perhaps `split`."""

import csv
from dataclasses import dataclass
from pathlib import Path

from seedbed.data.index import SPLITS
from seedbed.data.source import Complain, nfc
from seedbed.runtime.errors import UserError

COLUMNS = ("image", "labels", "split")


@dataclass(frozen=True)
class Row:
    """A row: where it stands ("row 3 of labels.csv"), a file name, class names, a split or ""."""

    place: str
    image: str
    labels: tuple[str, ...]
    split: str


def read_label_table(path: Path, complain: Complain) -> list[Row]:
    """Read the rows that are not empty, numbered as a spreadsheet does: the header is row 1.

    Labels are separated by `;` if any row has one, else by blanks. A byte order mark, either line
    end and empty rows are fine. Raises UserError for a file that is no such table; complains about,
    and leaves out, a row with too many cells or another split.
    """
    header, *rows = _read_cells(path)
    if not {"image", "labels"} <= set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        raise UserError(
            f"row 1 of {path} is {','.join(header)!r}: write image,labels or image,labels,split"
        )
    column = header.index("labels")
    labels = [cells[column] for cells in rows if len(cells) > column]
    separator = ";" if any(";" in cell for cell in labels) else None
    made = []
    for number, cells in enumerate(rows, 2):
        row = _row(f"row {number} of {path}", header, cells, separator)
        if any(cells[len(header) :]):
            complain(f"{row.place} has {len(cells)} cells: separate labels by blanks or ;")
        elif row.split not in ("", *SPLITS):
            complain(f"{row.place}: {row.split!r} is no split: write train, val or test")
        elif any(cells):
            made.append(row)
    return made


def _row(place: str, header: list[str], cells: list[str], separator: str | None) -> Row:
    cell = dict.fromkeys(COLUMNS, "") | dict(zip(header, cells, strict=False))
    labels = (label.strip() for label in cell["labels"].split(separator))
    return Row(place, cell["image"], tuple(filter(None, labels)), cell["split"])


def _read_cells(path: Path) -> list[list[str]]:
    """Give the rows of cells, stripped; the header, in small letters, is the first."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [[nfc(cell.strip()) for cell in row] for row in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read {path}: {error}; save it as CSV in UTF-8") from error
    if not rows:
        raise UserError(f"the table {path} is empty: begin it with the row image,labels")
    return [[cell.lower() for cell in rows[0]], *rows[1:]]
