"""One line that says what is wrong with a config, naming keys as the user wrote them."""

import re
from itertools import pairwise
from typing import Any

from pydantic import ValidationError

from stages.settings.training import KINDS, TrainingSettings

SHOWN_ERRORS = 3
Details = Any  # one error as pydantic describes it


def explain(error: ValidationError) -> str:
    """Say in one line which keys are wrong, as the user wrote them, and why."""
    errors = [item for item in error.errors() if not _is_inherited(item, error)]
    reasons = list(dict.fromkeys(_reason(item) for item in errors))
    more = len(reasons) - SHOWN_ERRORS
    return "; ".join(reasons[:SHOWN_ERRORS] + ([f"and {more} more"] if more > 0 else []))


def _is_inherited(item: Details, error: ValidationError) -> bool:
    """Whether a round repeats an error of the block that it inherits the value from."""
    if item["loc"][:1] != ("rounds",):
        return False
    inherited = item["loc"][2:]
    return any(
        other["loc"] in (inherited, ("training", *inherited)) and other["msg"] == item["msg"]
        for other in error.errors()
    )


def _reason(item: Details) -> str:
    place, kind = _place(item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        owner = f"kind {kind} has no such key" if kind else "unknown key"
        return f"{place}: {owner}; remove it or correct its spelling (see docs/config.md)"
    if item["type"] == "missing":
        return f"{place}: has no default and must be given{_or_shared(item['loc'])}"
    if item["type"] == "union_tag_invalid":
        context = item["ctx"]
        return f"{place}.kind: {context['tag']!r} is not one of {context['expected_tags']}"
    if item["type"] == "value_error" and re.match(r"[\w.]+: ", message):
        return f"{place}.{message}" if place else message  # the message begins with a key
    shown = "" if isinstance(item["input"], dict | list) else f" (got {item['input']!r})"
    return f"{place or 'settings'}: {message}{shown}"


def _or_shared(loc: tuple[str | int, ...]) -> str:
    """Where else a key of a round may be given."""
    shared = loc[0] == "rounds" and len(loc) == 3 and loc[2] in TrainingSettings.model_fields
    return ", here or in the block training" if shared else ""


def _place(loc: tuple[str | int, ...]) -> tuple[str, str]:
    """The dotted path of a key in the config, and the kind of its block if it has one.

    pydantic puts the kind into the path; the user did not.
    """
    parts = [str(part) for part in loc]
    kinds = [part for block, part in pairwise(parts) if part in KINDS.get(block, ())]
    kind = kinds[0] if kinds else ""
    if kind:
        parts.remove(kind)
    return ".".join(parts), kind
