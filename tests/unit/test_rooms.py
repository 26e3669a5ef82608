"""The rooms of the library, from top to bottom: imports go down only, and never in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.workflow_helpers import ROOT

ROOMS = (
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
FILES = sorted(ROOT.glob("seedbed/**/*.py"))
STAGES = sorted(ROOT.glob("stages/**/*.py"))


def dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path) for path in (*FILES, *STAGES)}


def imported(path: Path) -> set[str]:
    """The project's modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {module for name in names if (module := own_module(name))}


def own_module(name: str) -> str | None:
    """The module of the project that a dotted name stands in, or None."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def test_the_library_has_no_module_outside_its_rooms():
    assert {path.name for path in ROOT.glob("seedbed/*.py")} == {"__init__.py"}
    assert {path.parent.name for path in ROOT.glob("seedbed/*/__init__.py")} == set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=dotted)
def test_imports_go_down_only(path):
    room, *below = dotted(path).split(".")[1:2] or [None]
    if room is None:
        return  # seedbed itself offers names of all rooms
    below = ROOMS[ROOMS.index(room) :]
    for name in imported(path):
        package, _, rest = name.partition(".")
        assert package == "seedbed", f"{dotted(path)} imports {name}"
        assert rest.partition(".")[0] in below, f"{dotted(path)} imports {name}, which is above it"


def test_no_import_goes_in_a_circle():
    graph = {dotted(path): imported(path) - {dotted(path)} for path in (*FILES, *STAGES)}
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' imports '.join(error.args[1])}")


@pytest.mark.parametrize("path", STAGES, ids=dotted)
def test_a_stage_imports_no_other_stage(path):
    """What stages share is no stage: it has no rule."""
    shared = {"stages", "stages.command", "stages.training_run"}
    others = {name for name in imported(path) if name.startswith("stages")}
    others = {name for name in others if not name.startswith("stages.settings")}
    assert others <= shared
