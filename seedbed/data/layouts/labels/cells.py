"""Cells that hold several labels: split where that is certain.

A list in brackets, as JSON, Python, NumPy or R print it, is certain, and so is a class that is
given or stands alone elsewhere. Otherwise one separator is used for a whole column, and a name
that still looks like several labels is doubtful.
"""

import json
import re
import unicodedata
from collections.abc import Collection, Sequence

from seedbed.data.layouts.labels.columns import LABEL_ID, PRESENCE, key_of
from seedbed.data.text import plain_name, plain_text

Cell = str | tuple[str, ...]  # text to be split, or labels that are certain
SEPARATORS = ";|\n\t,#"  # the first that occurs in a column separates
WIDE = str.maketrans({"；": ";", "｜": "|", "，": ",", "、": ",", "،": ",", "؛": ";", "＃": "#"})
PAIRS = {"[": "]", "(": ")", "{": "}"}
QUOTED = re.compile(r"""u?'([^']*)'|u?"([^"]*)\"""")
JOINED = re.compile(r"\s*[/+&]\s*|\s+and\s+")  # separates classes that also stand alone
DOUBTFUL = re.compile(r"""[,;|#\[\]{}"/\\\n\t]|^[('`]|['`]$|[:=]\s*[-\d.]+$""")
FLAG = re.compile(r"[01](\.0*)?|true|false", re.IGNORECASE)
ABSENT = re.compile(
    r"[-+]?(0+[.,]?0*|[.,]0+)(e[-+]?[0-9]+)?%?|false|f|no|n|absent|negative", re.IGNORECASE
)
NO_NAMES = {"and", "or", "nan", "none", "null", "n/a"}
KEYS = (
    *("choices", "labels", "label", "classes", "class", "tags", "tag", "category", "name"),
    *LABEL_ID,
)


def split_column(
    cells: Sequence[Cell], *, many: bool, known: Collection[str]
) -> list[tuple[str, ...]]:
    """The labels of each cell of a column, without "background", which every image has.

    Args:
        cells: text, or labels.
        many: whether blanks separate labels if no other separator occurs.
        known: names of the classes, if they are given; they are never split.

    """
    texts = [plain_text(cell).translate(WIDE) if isinstance(cell, str) else "" for cell in cells]
    lists = [
        tuple(map(plain_name, cell)) if isinstance(cell, tuple) else _in_brackets(text)
        for cell, text in zip(cells, texts, strict=True)
    ]
    free = [t for t, one in zip(texts, lists, strict=True) if one is None and t not in known]
    separator = separator_of(free) or (" " if many else None)
    labels = [
        tuple(_split(text, separator, known)) if one is None else one
        for text, one in zip(texts, lists, strict=True)
    ]
    alone = {name for names in labels for name in names if not JOINED.search(name)} | set(known)
    labels = [tuple(part for name in names for part in _parts(name, alone)) for names in labels]
    return [
        tuple(dict.fromkeys(name for name in names if name and name.casefold() != "background"))
        for names in _whole_numbers(labels)
    ]


def separator_of(texts: Sequence[str]) -> str | None:
    """What separates the labels of a column, beside blanks; a final "#" belongs to a name."""
    for separator in SEPARATORS:
        if any(separator in text for text in texts):
            return None if separator == "#" and any(t.endswith("#") for t in texts) else separator
    return None


def is_doubtful(name: str, known: Collection[str], names: Collection[str]) -> bool:
    """Whether a label may be several ones, or none; `names` are all labels of the table."""
    if name in known:
        return False
    words = name.split()
    return (
        bool(DOUBTFUL.search(name))
        or name.casefold() in NO_NAMES
        or all(unicodedata.category(c)[0] in "PZ" or c in "+=<>|~^`" for c in name)
        or (len(words) > 1 and set(words) <= set(names))
    )


def names_in(value: object) -> tuple[str, ...] | None:
    """The labels in a JSON value: a list of names or objects, or an object; None for others."""
    if isinstance(value, list):
        parts = [names_in(item) if isinstance(item, dict) else _name(item) for item in value]
        return None if None in parts else tuple(name for part in parts for name in part)
    if not isinstance(value, dict):
        return None
    if (key := _label_key(value)) is not None:
        inner = value[key]
        return names_in(inner) if isinstance(inner, list | dict) else _name(inner)
    if all(isinstance(item, int) and item in (0, 1) for item in value.values()):
        return tuple(name for name, present in value.items() if present)
    return None


def says_no(value: object) -> bool:
    """Whether a value beside a class, in a column or key of PRESENCE, says that it is absent."""
    return ABSENT.fullmatch(str(value).strip()) is not None


def absent_in(value: object) -> tuple[str, str, str] | None:
    """The first object in a JSON value that says that its class is absent; None if none does.

    Returns its label, the key that says so, and the value there, as JSON.
    """
    if isinstance(value, list):
        found = (absent_in(item) for item in value if isinstance(item, dict))
        return next(filter(None, found), None)
    label = _label_key(value) if isinstance(value, dict) else None
    if label is None:
        return None
    for key, said in value.items():
        if key != label and key_of(key) in PRESENCE and says_no(said):
            return str(value[label])[:40], key, json.dumps(said, ensure_ascii=False)
    return absent_in(value[label])


def absent_in_text(text: str) -> tuple[str, str, str] | None:
    """As `absent_in`, of a cell that holds JSON."""
    if text[:1] not in ("[", "{") or "{" not in text:
        return None
    try:
        return absent_in(json.loads(text))
    except (ValueError, RecursionError):
        return None


def first_vector(cells: Sequence[Cell]) -> tuple[int, int] | None:
    """The position and the length of the first list if all cells are empty or such lists.

    The lists are of one length of at least 2, and hold nothing but 0 and 1. A single value in each
    cell may be the name of a class.
    """
    first = None
    for place, cell in enumerate(cells):
        if not (values := _values(cell)):
            continue
        first = first or (place, len(values))
        if len(values) != max(first[1], 2) or not all(map(FLAG.fullmatch, values)):
            return None
    return first


def _values(cell: Cell) -> Sequence[str]:
    """What a cell lists, however it is separated."""
    if isinstance(cell, tuple):
        return cell
    text = plain_text(cell).translate(WIDE)
    if PAIRS.get(text[:1]) == text[-1:]:
        text = text[1:-1]
    return [part.strip("'\"") for part in re.split(rf"[\s{SEPARATORS}]+", text) if part]


def _label_key(value: dict[str, object]) -> str | None:
    """The key of an object that holds its label or labels."""
    return next((key for key in KEYS if key in value and not isinstance(value[key], bool)), None)


def _name(value: object) -> tuple[str, ...] | None:
    """A text or a whole number as a label."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return (str(value),)
    return None


def _in_brackets(text: str) -> tuple[str, ...] | None:
    """The labels of a list in brackets; None if the text is none."""
    if len(text) < 2 or PAIRS.get(text[0]) != text[-1]:
        return None
    try:
        names = names_in(json.loads(text))
    except (ValueError, RecursionError):
        names = _quoted_or_bare(text[0], text[1:-1])
    return None if names is None else tuple(map(plain_name, names))


def _quoted_or_bare(bracket: str, inner: str) -> tuple[str, ...] | None:
    quoted = [one or other for one, other in QUOTED.findall(inner)]
    if quoted:
        return None if QUOTED.sub("", inner).strip(" ,;\n\t") else tuple(quoted)
    bare = [part.strip() for part in inner.split(",")]
    if (bracket == "(" and inner) or DOUBTFUL.search("".join(bare)):
        return None
    return tuple(bare)


def _split(text: str, separator: str | None, known: Collection[str]) -> list[str]:
    if text in known or separator is None:
        return [plain_name(text)]
    parts = text.split() if separator == " " else text.split(separator)
    return [plain_name(part) for part in parts]


def _parts(name: str, alone: Collection[str]) -> list[str]:
    """The classes in a label such as "cat/dog" if both also stand alone, else the label."""
    parts = JOINED.split(name)
    return parts if name not in alone and set(parts) <= set(alone) else [name]


def _whole_numbers(labels: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Write 1.0 as 1 if all labels are whole numbers: pandas has such cells."""
    if not all(re.fullmatch(r"[0-9]+(\.0+)?", name) for names in labels for name in names if name):
        return labels
    return [tuple(name.split(".")[0] for name in names) for names in labels]
