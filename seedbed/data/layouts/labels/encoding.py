"""Text files in any encoding of Unicode."""

import codecs
from pathlib import Path

from seedbed.runtime.errors import UserError

MARKS = {  # the longer ones first: UTF-32's begins with UTF-16's
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


def read_unicode(path: Path) -> str:
    """Read a file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises UserError if the file is missing or in another encoding.
    """
    try:
        data = path.read_bytes()
        mark = next((mark for mark in MARKS if data.startswith(mark)), b"")
        return data.removeprefix(mark).decode(MARKS[mark] if mark else _unmarked(data))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}; save it as CSV in UTF-8") from error


def _unmarked(data: bytes) -> str:
    """UTF-16 if every second byte of the beginning is mostly zero, else UTF-8."""
    head = data[:1000]
    even, odd = head[::2].count(0), head[1::2].count(0)
    if max(even, odd) <= len(head) // 4:
        return "utf-8"
    return "utf-16-le" if odd > even else "utf-16-be"
