"""Write docs/config.md and docs/config.schema.json: all settings, for readers and for editors."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic.json_schema import models_json_schema

from seedbed.models.registry import names_of_kind
from stages.settings import (
    PredictImagesSettings,
    PredictSettings,
    Settings,
    SharedTrainingSettings,
    TrainingSettings,
)
from stages.settings.base import Block

Schema = dict[str, Any]  # a part of a JSON schema
Model = TypeVar("Model", bound=Block)

DOCS = Path(__file__).parents[1] / "docs"
INTRODUCTION = """\
# Settings

Written by `python -m stages.config_page`: change `stages/settings/`, not this page. The same
command writes `config.schema.json`, which editors use for completion and checks.

One section for each block of a config file, in the order of the pipeline: search for the key.

`config.yaml` is the default run. Recipes given by `--configfile` replace it. Later files lie over
earlier ones, and `--config 'seeds={grid: 41}'` lies over all files: blocks are merged key by key;
lists, `rounds` too, are replaced whole; a block that names another `kind` replaces the block below
it; and a block that names another `network` drops the `options` below it. A file with
`overlay_of: config.yaml` can only be used after the file that it names. A file without `pathvars`
writes where the files before it write; in one with `pathvars`, `{results}` is that folder.

The defaults below hold where no file gives a key. A default is the value of the method's own paper
or release. A key that no paper defines has the neutral value; a key that depends on the experiment
has no default and must be given. A block is needed only if a job of the run uses it.

Files and folders that are read are relative to `run.data`, unless their paths are absolute. A
stage run by hand takes its block as JSON: `python -m stages.seeds --params '{"grid": 41}'`."""

BY_HAND = "predict_images"
ABOUT_BY_HAND = "no block of the config: what `python -m stages.predict_images --params` takes"
INHERITED = {"training": TrainingSettings, "predict": PredictSettings}  # others add keys to them
COMPARED = ("$ref", "type", "enum", "anyOf", "oneOf", "default")
OVERLAY_OF = {
    "type": "string",
    "description": "config file that this file must be given after, relative to the project",
}


def page() -> str:
    """The page in Markdown, a section for each block in the order of the config."""
    models = [(m, "validation") for m in (Settings, TrainingSettings, PredictImagesSettings)]
    blocks = models_json_schema(models)[1]["$defs"]
    shared = SharedTrainingSettings.__name__
    blocks[shared] |= {"properties": blocks[TrainingSettings.__name__]["properties"]}
    top = blocks["Settings"]["properties"]
    by_hand = {"$ref": f"#/$defs/{PredictImagesSettings.__name__}", "description": ABOUT_BY_HAND}
    keys = {**top, BY_HAND: by_hand}
    places: dict[str, str] = {}
    _name_places({"training": keys["training"]}, "", blocks, places)  # others have the same blocks
    _name_places(keys, "", blocks, places)
    sections = [INTRODUCTION]
    order = list(keys)
    for place in sorted(set(places.values()), key=lambda p: (order.index(p.split(".")[0]), p)):
        names = [block for block, other in places.items() if other == place]
        sections += _section(names, place, keys.get(place, {}), blocks, places)
    return "\n\n".join(sections) + "\n"


def schema() -> str:
    """A JSON schema of config files; nothing is required, as one file may lie over another."""
    whole = _for_files(Settings.model_json_schema())
    whole["properties"] = {"overlay_of": OVERLAY_OF, **whole["properties"]}
    return json.dumps({"title": "Seedbed config", **whole}, indent=1) + "\n"


def _for_files(part: Any) -> Any:  # noqa: ANN401 - any part of a JSON schema
    """The schema of values that may be incomplete: without required keys, kinds included."""
    if isinstance(part, list):
        return [_for_files(item) for item in part]
    if not isinstance(part, dict):
        return part
    if "oneOf" in part:
        part = {**part, "anyOf": part["oneOf"]}
    dropped = {"required", "oneOf", "discriminator", "title"}
    left_out = part.get("type") == "string" and part.get("default", "") is None
    if _blocks_of(part) or left_out or part.get("default") == "the network's own":
        dropped.add("default")
    kept = {name: value for name, value in part.items() if name not in dropped}
    return {name: value if name == "default" else _for_files(value) for name, value in kept.items()}


def _name_places(keys: Schema, prefix: str, blocks: Schema, places: dict[str, str]) -> None:
    """Note in `places` under which keys each block is found first, nested blocks included."""
    for name, key in keys.items():
        for block in _blocks_of(key):
            if block not in places:
                places[block] = f"{prefix}{name}"
                _name_places(blocks[block]["properties"], f"{prefix}{name}.", blocks, places)


def _blocks_of(key: Schema) -> list[str]:
    """The block that a key holds, perhaps in a list or beside null, or the blocks of its kinds."""
    choices = [key, key.get("items", {}), *key.get("anyOf", []), *key.get("oneOf", [])]
    return [choice["$ref"].rpartition("/")[2] for choice in choices if "$ref" in choice]


def _section(
    names: list[str], place: str, key: Schema, blocks: Schema, places: dict[str, str]
) -> list[str]:
    """Heading, purpose and table of a block, or of each of its kinds."""
    parts = [f"## {place}"]
    if len(names) > 1:
        for name in names:
            rows = dict(blocks[name]["properties"])
            kind = rows.pop("kind")["const"]
            parts += [f"`kind: {kind}`: {blocks[name]['description']}"]
            parts += [_table(rows, blocks, places)] if rows else []
        return parts
    parts.append(blocks[names[0]]["description"])
    if "description" in key:
        parts.append(f"{key['description'][0].upper()}{key['description'][1:]}.")
    rows = blocks[names[0]]["properties"]
    if training := _models(TrainingSettings).get(names[0]):
        parts.append(f"Networks: {_or(names_of_kind(training.network_kind))}.")
    base = next((p for p, m in INHERITED.items() if p != place and names[0] in _models(m)), None)
    if base:
        known = blocks[INHERITED[base].__name__]["properties"]
        new = {name: row for name, row in rows.items() if _differs(row, known.get(name, {}))}
        rows = {name: {**known.get(name, {}), **row} for name, row in new.items()}
        parts.append(f"All keys of {_link(base)}, and these, which are new or differ in default:")
    return [*parts, _table(rows, blocks, places)]


def _models(base: type[Model]) -> dict[str, type[Model]]:
    """A model of settings and all that inherit from it, by name."""
    models = {base.__name__: base}
    for model in base.__subclasses__():
        models |= _models(model)
    return models


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
    if "$ref" in key or "oneOf" in key:
        return f"block {_link(places[_blocks_of(key)[0]])}"
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
        "integer": "integer",
        "null": "`null`",
        "number": "number",
        "object": "mapping",
        "string": "string",
    }
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {key[name]}" for name, sign in signs.items() if name in key]
    return f"{names[key['type']]} {' and '.join(bounds)}".strip()


def _or(values: Iterable[object]) -> str:
    *first, last = (f"`{value}`" for value in values)
    return f"{', '.join(first)} or {last}" if first else last


def _default(key: Schema, blocks: Schema) -> str:
    """The default; of a block, its kind and the keys that differ from the block's own section."""
    if "default" not in key:
        return "must be given"
    value, names = key["default"], _blocks_of(key)
    if value is None and key.get("type") == "string":
        return ""  # left out is what null is elsewhere
    if not (names and value):
        return f"`{_yaml(value)}`"
    kind = {"kind": value["kind"]} if "kind" in value else {}
    fitting = (blocks[name]["properties"] for name in names)
    own = next(rows for rows in fitting if not kind or rows["kind"]["const"] == value["kind"])
    changed = {name: v for name, v in value.items() if v != own[name].get("default")}
    return f"`{_yaml(kind | changed)}`" if kind | changed else ""


def _yaml(value: object) -> str:
    """A value as it is written in the config, on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_yaml(v)}' for name, v in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")  # all digits: a copied default is the default
    return value if isinstance(value, str) else json.dumps(value)


def main() -> None:
    """Write both files anew."""
    (DOCS / "config.md").write_text(page(), encoding="utf-8")
    (DOCS / "config.schema.json").write_text(schema(), encoding="utf-8")


if __name__ == "__main__":
    main()
