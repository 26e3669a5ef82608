"""Reads YAML files, and refuses a key that is given twice: PyYAML keeps only the last one."""

from pathlib import Path
from typing import Any

import yaml

from seedbed.runtime.errors import UserError

MERGE = "tag:yaml.org,2002:merge"  # of `<<`


class _RepeatedKeyError(yaml.YAMLError):
    """A key is given twice."""


class _Loader(yaml.SafeLoader):
    """Looks at mappings before keys are merged into them by `<<`, which may be overridden."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """Compose a mapping; raises an error in one line if a key is given twice."""
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == MERGE:
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise _RepeatedKeyError(
                    f"the key {key.value} is given twice, in lines {lines[name]} and {line}; "
                    "join the two, or remove one"
                )
            lines[name] = line
        return node


def read_yaml(path: Path) -> Any:  # noqa: ANN401 - any content
    """The content of a YAML file.

    Raises:
        UserError: if it cannot be read, is not YAML, or a key is given twice in one mapping.

    """
    try:
        with path.open(encoding="utf-8") as file:
            return yaml.load(file, _Loader)
    except _RepeatedKeyError as error:
        raise UserError(f"{_shown(path)}: {error}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read {path}: {' '.join(str(error).split())}") from None


def refuse_repeated_keys(path: Path) -> None:
    """Raise UserError if a file that has been read as YAML or JSON already gives a key twice."""
    try:
        with path.open(encoding="utf-8") as file:
            yaml.compose(file, _Loader)
    except _RepeatedKeyError as error:
        raise UserError(f"{_shown(path)}: {error}") from None
    except yaml.YAMLError:  # JSON may have tabs
        return


def _shown(path: Path) -> Path:
    """A path as a user in the project's folder would write it."""
    inside = path.is_absolute() and path.is_relative_to(Path.cwd())
    return path.relative_to(Path.cwd()) if inside else path
