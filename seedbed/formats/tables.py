"""Text, JSON and tables (TSV), written atomically."""

import csv
import json
from collections.abc import Mapping, Sequence
from io import StringIO
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8; line ends are not translated."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write a JSON value with sorted keys, indented by one space."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def _cell(value: object) -> str:
    """A cell's text: %.6g for floats, empty for None."""
    if value is None:
        return ""
    if isinstance(value, Real) and not isinstance(value, Integral):
        return f"{value:.6g}"
    return str(value)


def write_tsv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write a table whose columns are the keys of the first row; all rows have the same keys."""
    text = StringIO(newline="")
    writer = csv.writer(text, dialect="excel-tab", lineterminator="\n")
    columns = list(rows[0]) if rows else []
    writer.writerow(columns)
    for row in rows:
        if row.keys() != set(columns):
            raise ValueError(f"rows: keys {list(row)} are not the columns {columns}")
        writer.writerow([_cell(row[column]) for column in columns])
    write_text(path, text.getvalue())


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Read a table as a list of rows of strings; raises UserError if it cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        return list(csv.DictReader(StringIO(text, newline=""), dialect="excel-tab"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read the table {path}: {error}; remake it") from error
