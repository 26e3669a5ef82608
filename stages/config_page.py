"""The page of all settings: `python -m stages.config_page > docs/config.md` writes it anew."""

import inspect
import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from stages import settings
from stages.config import Settings
from stages.settings import PredictImagesSettings, PredictSettings, TrainingSettings

Schema = dict[str, Any]  # a part of a JSON schema

INTRODUCTION = """\
# Settings

Made by `python -m stages.config_page > docs/config.md`: change `stages/settings.py`, not this page.

`config.yaml` is the default run. A recipe, given by `--configfile`, lies over it, and
`--config 'seeds={grid: 41}'` over both. Blocks are merged key by key; lists are replaced whole, and
the `rounds` are a list. The defaults below count where none of them names a key, so above all in a
round. Unknown keys, values out of bounds and values that do not go together end in one line that
names the key.

Files and folders that are read lie in `run.data`, unless their paths are absolute. By hand a stage
takes its block as JSON: `python -m stages.seeds --params '{"grid": 41}'` and its files."""

BY_HAND = "predict_images"
ABOUT_BY_HAND = "No block of the config: what `python -m stages.predict_images --params` takes."
SHARED = {"training": TrainingSettings, "predict": PredictSettings}  # other blocks build on them
COMPARED = ("$ref", "type", "enum", "anyOf", "default")


def page() -> str:
    """The page in Markdown, a section for each block in the order of the config."""
    models = [(Settings, "validation"), (PredictImagesSettings, "validation")]
    blocks = models_json_schema(models)[1]["$defs"]
    top = blocks["Settings"]["properties"]
    by_hand = {"$ref": f"#/$defs/{PredictImagesSettings.__name__}"}
    keys = {**top, BY_HAND: {**by_hand, "description": ABOUT_BY_HAND}}
    places: dict[str, str] = {}
    _name_places(keys, "", blocks, places)
    plain = {name: key for name, key in top.items() if not _block_of(key)}
    sections = [INTRODUCTION, f"## At the top\n\n{_table(plain, blocks, places)}"]
    for block, place in places.items():
        sections += _section(block, place, keys.get(place, {}), blocks, places)
    return "\n\n".join(sections) + "\n"


def _name_places(keys: Schema, prefix: str, blocks: Schema, places: dict[str, str]) -> None:
    """Note in `places` under which keys each block stands first, nested blocks included."""
    for name, key in keys.items():
        block = _block_of(key)
        if block and block not in places:
            places[block] = f"{prefix}{name}"
            _name_places(blocks[block]["properties"], f"{prefix}{name}.", blocks, places)


def _block_of(key: Schema) -> str | None:
    """The block that a key holds, perhaps in a list or beside null; None if it holds a value."""
    choices = [key, key.get("items", {}), *key.get("anyOf", [])]
    return next((c["$ref"].rpartition("/")[2] for c in choices if "$ref" in c), None)


def _section(
    block: str, place: str, key: Schema, blocks: Schema, places: dict[str, str]
) -> list[str]:
    """Heading, purpose and table of a block."""
    model: type[BaseModel] = getattr(settings, block)
    parts = [f"## {place}", inspect.getdoc(model) or ""]
    if "description" in key:
        parts.append(f"{key['description'][0].upper()}{key['description'][1:]}".rstrip(".") + ".")
    rows = blocks[block]["properties"]
    if issubclass(model, TrainingSettings):
        parts.append(f"The network's name ends in {_or(model.kinds)}.")
    base = next((p for p, m in SHARED.items() if m is not model and issubclass(model, m)), None)
    if base:
        known = blocks[SHARED[base].__name__]["properties"]
        new = {name: row for name, row in rows.items() if _differs(row, known.get(name, {}))}
        rows = {name: {**known.get(name, {}), **row} for name, row in new.items()}
        parts.append(f"All keys of {_link(base)}, and these, which are new or begin otherwise:")
    return [*parts, _table(rows, blocks, places)]


def _differs(key: Schema, other: Schema) -> bool:
    return any(key.get(part) != other.get(part) for part in COMPARED)


def _link(place: str) -> str:
    return f"[{place}](#{place.replace('.', '')})"


def _table(keys: Schema, blocks: Schema, places: dict[str, str]) -> str:
    lines = ["| key | takes | default | meaning |", "|---|---|---|---|"]
    for name, key in keys.items():
        cells = (f"`{name}`", _takes(key, places), _default(key, blocks), key.get("description"))
        lines.append(f"| {' | '.join(cell or '' for cell in cells)} |")
    return "\n".join(lines)


def _takes(key: Schema, places: dict[str, str]) -> str:
    """Type and bounds in plain words."""
    if "$ref" in key:
        return f"block {_link(places[_block_of(key) or ''])}"
    if "enum" in key:
        return _or(key["enum"])
    if "anyOf" in key:
        return " or ".join(_takes(choice, places) for choice in reversed(key["anyOf"]))
    if key["type"] == "array":
        items = key.get("prefixItems") or [key["items"]]
        count = f"{len(items)} values" if "prefixItems" in key else "list"
        least = "at least one, " if "minItems" in key and "items" in key else ""
        return f"{count}, {least}each {_takes(items[0], places)}"
    names = {
        "boolean": "`true` or `false`",
        "integer": "whole number",
        "null": "`null`",
        "number": "number",
        "object": "keys and values",
        "string": "text",
    }
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {key[name]}" for name, sign in signs.items() if name in key]
    return f"{names[key['type']]} {' and '.join(bounds)}".strip()


def _or(values: Iterable[str]) -> str:
    *first, last = (f"`{value}`" for value in values)
    return f"{', '.join(first)} or {last}" if first else last


def _default(key: Schema, blocks: Schema) -> str:
    """The default; of a block, the keys that begin otherwise than in the block's own section."""
    block, value = _block_of(key), key.get("default")
    if block and value:
        own = blocks[block]["properties"]
        value = {name: v for name, v in value.items() if v != own[name].get("default")}
        return f"`{_yaml(value)}`" if value else ""
    return f"`{_yaml(value)}`" if "default" in key else "must be given"


def _yaml(value: object) -> str:
    """A value as it is written in the config, on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_yaml(v)}' for name, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    print(page(), end="")
