"""The order of the library's rooms: imports go down only and form no cycle."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.workflow_helpers import ROOT

ROOMS = (  # from top to bottom
    "report",
    "training",
    "inference",
    "evaluation",
    "models",
    "data",
    "methods",
    "crf",
    "formats",
    "runtime",
)
SHARED_BY_STAGES = {"stages", "stages.chain_options", "stages.command", "stages.training_run"}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


LIBRARY = {module_name(path): path for path in sorted(ROOT.glob("seedbed/**/*.py"))}
STAGES = {module_name(path): path for path in sorted(ROOT.glob("stages/**/*.py"))}
MODULES = LIBRARY | STAGES


def imports(path: Path) -> set[str]:
    """The project's modules that a file imports anywhere, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {module for name in names if (module := enclosing_module(name))}


def enclosing_module(name: str) -> str | None:
    """The project's module that defines a dotted name, or None."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


IMPORTS = {module: imports(path) for module, path in MODULES.items()}


def upward_imports() -> Iterator[str]:
    for module in LIBRARY:
        if module == "seedbed":
            continue  # offers names of all rooms, as text
        room = module.split(".")[1]
        allowed = ROOMS[ROOMS.index(room) :]
        for imported in sorted(IMPORTS[module]):
            package, _, rest = imported.partition(".")
            if package != "seedbed" or rest.partition(".")[0] not in allowed:
                yield f"{module} imports {imported}"


def test_every_module_is_in_a_room():
    assert {path.name for path in ROOT.glob("seedbed/*.py")} == {"__init__.py"}
    assert {path.parent.name for path in ROOT.glob("seedbed/*/__init__.py")} == set(ROOMS)


def test_the_package_itself_imports_no_room():
    assert not IMPORTS["seedbed"]


def test_imports_go_down_only():
    assert list(upward_imports()) == []


def test_imports_form_no_cycle():
    graph = {module: imported - {module} for module, imported in IMPORTS.items()}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a cycle: {' imported by '.join(error.args[1])}")


def test_unit_tests_lie_in_the_rooms_that_they_test():
    folders = {path.parent.name for path in ROOT.glob("tests/unit/*/__init__.py")}
    assert folders <= set(ROOMS)


def test_a_stage_imports_no_other_stage():
    for module in STAGES:
        others = {name for name in IMPORTS[module] if name.startswith("stages")}
        others = {name for name in others if not name.startswith("stages.settings")}
        assert others <= SHARED_BY_STAGES | {module}, f"{module} imports {others}"
