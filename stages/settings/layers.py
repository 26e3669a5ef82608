"""Config files laid over one another, and `--config` over them all."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seedbed.runtime.errors import UserError

Config = Mapping[str, Any]


def lay_over(below: Any, above: Any, default_kinds: Config | None = None) -> Any:  # noqa: ANN401
    """One value of a config with another laid over it.

    Blocks are merged key by key; anything else, lists included, is replaced whole. A block that
    names another `kind` replaces the block below it, and a block that names another `network`
    drops the `options` of the network below: such keys mean nothing to the new one.

    Args:
        below: the value of a block or key, unchanged.
        above: the value that takes precedence.
        default_kinds: the kinds of blocks that do not name theirs, nested like the config,
            for example `{"affinity": {"schedule": {"kind": "poly"}}}`.

    """
    if not (isinstance(below, Mapping) and isinstance(above, Mapping)):
        return above
    kinds = default_kinds or {}
    if "kind" in above and above["kind"] != below.get("kind", kinds.get("kind")):
        return above
    if "network" in above and above["network"] != below.get("network", above["network"]):
        below = {key: value for key, value in below.items() if key != "options"}
    merged = {key: lay_over(below.get(key), value, kinds.get(key)) for key, value in above.items()}
    return {**below, **merged}


def combine(
    files: Sequence[tuple[Path, Config]],
    command_line: Config,
    default_kinds: Config,
    project: Path,
) -> dict[str, Any]:
    """The config that several config files and the command line make together.

    Args:
        files: paths and contents of the config files, in the order in which they were given.
        command_line: what `--config` says; Snakemake leaves its nested values text.
        default_kinds: see `lay_over`.
        project: the folder that `overlay_of` is relative to.

    Raises:
        UserError: a file holds no keys, or says `overlay_of` and that file was not given before it.

    """
    config: dict[str, Any] = {}
    for number, (path, content) in enumerate(files):
        if not isinstance(content, Mapping):
            raise UserError(f"{_shown(path, project)}: must hold keys at its top level")
        _check_overlay(path, content.get("overlay_of"), [p for p, _ in files[:number]], project)
        config = lay_over(config, _with_folders(content, config), default_kinds)
    config.pop("overlay_of", None)
    return lay_over(config, _with_folders(_with_null(command_line), config), default_kinds)


def folders_of(pathvars: Config) -> dict[str, Any]:
    """The folders of a run by pathvar; `shared` is `results` unless given, `saliency` `shared`.

    Without `./`, a slash at the end and the like: artefacts and their records go by these names.
    """
    results = pathvars.get("results") or "results"
    shared = pathvars.get("shared") or results
    saliency = pathvars.get("saliency") or shared
    folders = {"results": results, "shared": shared, "saliency": saliency}
    # A config that has not been checked yet may hold anything.
    return {k: os.path.normpath(v) if isinstance(v, str) else v for k, v in folders.items()}


def _with_folders(above: Config, below: Config) -> Config:
    """A config whose pathvars hold the folders below for `{results}`, `{shared}`, `{saliency}`.

    So `{results}-dsrg` names a folder after that of whatever the config lies over.
    """
    pathvars, lower = above.get("pathvars"), below.get("pathvars", {})
    if not (isinstance(pathvars, Mapping) and isinstance(lower, Mapping)):
        return above
    filled = dict(pathvars)
    for name, folder in folders_of(lower).items():
        for key, value in filled.items():
            if isinstance(value, str) and isinstance(folder, str):
                filled[key] = value.replace(f"{{{name}}}", folder)
    return {**above, "pathvars": filled}


def _check_overlay(path: Path, base: str | None, before: list[Path], project: Path) -> None:
    if base and (project / base).resolve() not in [other.resolve() for other in before]:
        raise UserError(
            f"{_shown(path, project)} is an overlay of {base} and cannot be used without it: "
            f"snakemake --configfile {base} {_shown(path, project)}"
        )


def _shown(path: Path, project: Path) -> str:
    """A path as a user in the project's folder would write it."""
    inside = path.is_absolute() and path.is_relative_to(project)
    return str(path.relative_to(project) if inside else path)


def _with_null(value: Any) -> Any:  # noqa: ANN401 - any value of a config
    """The value with None wherever it holds the text `null`."""
    if isinstance(value, Mapping):
        return {key: _with_null(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_null(item) for item in value]
    return None if value == "null" else value
