"""Checks of names and labels that come from files."""

import re
import unicodedata
from collections.abc import Iterable

from seedbed.runtime.errors import UserError

MAX_LENGTH = 10_000  # characters
# Zero-width joiner and non-joiner, which scripts such as Persian and Hindi need within words.
JOINERS = "\u200c\u200d"
USELESS_JOINER = re.compile(rf"(?<![^\x00-\x7f{JOINERS}])[{JOINERS}]+|[{JOINERS}]+(?![^\x00-\x7f])")


def compose(text: str) -> str:
    """The composed form of a text (Unicode NFC); file systems and spreadsheets differ in it.

    Raises UserError for a very long text: composing it can take quadratic time.
    """
    if len(text) > MAX_LENGTH:
        raise UserError(f"{text[:20]!r}… has {len(text)} characters: shorten the name or label")
    return unicodedata.normalize("NFC", text)


def plain_text(text: str) -> str:
    """A composed text without invisible characters, whose blanks are all plain spaces.

    No-break, wide and other blanks become spaces; tabs and line feeds are kept. Byte order marks,
    zero-width spaces, soft hyphens and marks of the writing direction are removed, and so are
    zero-width joiners, except between two characters that are not ASCII.
    """
    visible = "".join(
        c if c in f"\t\n{JOINERS}" or unicodedata.category(c) != "Cf" else ""
        for c in compose(text).replace("\r\n", "\n")
    )
    visible = USELESS_JOINER.sub("", visible)
    return "".join(" " if c.isspace() and c not in "\t\n" else c for c in visible).strip()


def plain_name(text: str) -> str:
    """A name as `plain_text`, with a single space between words."""
    return re.sub(" +", " ", plain_text(text))


def is_printable(text: str) -> bool:
    """Whether a text is not blank, fits on a line and can be encoded as UTF-8."""
    return bool(text.strip()) and all(unicodedata.category(c) not in ("Cc", "Cs") for c in text)


def is_image_id(text: str) -> bool:
    """Whether a text is the stem of a visible file; any script and inner blanks are allowed."""
    return (
        is_printable(text)
        and text == text.strip()
        and text[0] != "."
        and not set(text) & set("/\\")
    )


def shortened(text: str, length: int = 60) -> str:
    """A text for a message; of a long one its beginning and "…"."""
    return text if len(text) <= length else f"{text[:length]}…"


def shown(name: str) -> str:
    """A name as it can be printed: bytes that are not UTF-8 are written as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def count_with_examples(what: str, names: Iterable[str]) -> list[str]:
    """A line like "5 files are no images: a, b, c, …"; no line if there are no names."""
    ordered = sorted(names)
    more = ", …" if len(ordered) > 3 else ""
    return [f"{len(ordered)} {what}: {', '.join(map(shown, ordered[:3]))}{more}"] if ordered else []
