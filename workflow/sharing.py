"""Artefacts that several recipes share: made once, and with one recipe's settings alone."""

import ast
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

# By rule: the pathvar of the folder that it writes to, and its subfolder there.
SHARED_RULES = {
    "convert": ("shared", "dataset"),
    "classifier": ("shared", "classifier"),
    "cam": ("shared", "cam"),
    "saliency": ("saliency", "saliency"),
}


def recorded_settings(params: Sequence[str]) -> tuple[Any, Any]:
    """Settings of a job, and digests of its given files, from the params that Snakemake recorded.

    None for what is not among them.
    """
    values = [ast.literal_eval(text) for text in params]
    content = next((value for value in values if isinstance(value, dict)), None)
    for value in values:
        words = shlex.split(value) if isinstance(value, str) else []
        if words[:1] == ["--params"]:
            return json.loads(words[1]), content
    return None, content


def first_difference(there: Any, here: Any, key: str) -> str | None:  # noqa: ANN401 - JSON values
    """The first key whose values differ, with both, for people to read; None if all are equal."""
    for name, old, new in _different(there, here, key):
        return f"{name} {json.dumps(old)}, not {json.dumps(new)}"
    return None


def _different(there: Any, here: Any, key: str) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for name in dict.fromkeys((*here, *there)):
            yield from _different(there.get(name), here.get(name), f"{key}.{name}")
    elif there != here:
        yield key, there, here
