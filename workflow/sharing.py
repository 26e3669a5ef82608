"""Artefacts that several recipes share: made once, and with one recipe's settings alone."""

import ast
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

# By rule: the pathvar of the folder that it writes to, and its subfolder there.
SHARED_RULES = {
    "convert": ("shared", "dataset"),
    "classifier": ("shared", "classifier"),
    "cam": ("shared", "cam"),
    "saliency": ("saliency", "saliency"),
}


class Recorded(NamedTuple):
    """What a job was made with: None for what it has not.

    settings: of its stage; content: digests of its given files, by name; made_up: the settings of
    the synthetic data set that it reads.
    """

    settings: Any = None
    content: Any = None
    made_up: Any = None


def recorded_settings(params: Sequence[str]) -> Recorded:
    """What a job was made with, from the params that Snakemake recorded, which have no names."""
    found: dict[str, Any] = {}
    for value in map(ast.literal_eval, params):
        if isinstance(value, dict):
            found["content"] = value
        elif isinstance(value, str) and value.startswith("--params "):
            found["settings"] = json.loads(shlex.split(value)[1])
        elif isinstance(value, str) and value.startswith("{"):
            found["made_up"] = json.loads(value)
    return Recorded(**found)


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
