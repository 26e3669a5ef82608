"""The hash of a stage's code: what counts, and that nothing which a stage imports escapes it."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.workflow_helpers import ROOT
from workflow.digests import CodeDigest, imported_modules

STAGE = """\
import os
from library.room import used
from ..elsewhere import nothing
import library.other as other

def work():
    from .beside import late
"""


@pytest.fixture
def project(tmp_path):
    files = {
        "stages/__init__.py": "",
        "stages/work.py": STAGE,
        "stages/beside.py": "late = 1",
        "stages/command.py": "from library import unused",
        "library/__init__.py": '"""A library."""',
        "library/room/__init__.py": "from .used import used",
        "library/room/used.py": "def used():\n    return 1",
        "library/room/native/grid.hpp": "int cells;",
        "library/room/native/setup.py": "FLAGS = 1",
        "library/other.py": "from stages.command import *",
        "library/unused.py": "",
        "library/page.css": "p {}",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def digest(project: Path) -> str:
    return CodeDigest(project)("stages.work")


def test_all_that_a_stage_imports_is_hashed_but_plumbing(project):
    found = {str(path.relative_to(project)) for path in CodeDigest(project).files("stages.work")}
    every = {str(path.relative_to(project)) for path in project.rglob("*.*")}
    assert found == every - {"stages/command.py", "library/unused.py"}


@pytest.mark.parametrize(
    ("name", "before", "after", "counts"),
    [
        ("library/room/used.py", "return 1", "return 2", True),
        ("library/room/used.py", "return 1", '"""One."""\n    return 1  # so', False),
        ("library/room/used.py", "return 1", "return (\n        1)", False),
        ("library/room/used.py", "return 1", 'return "1"', True),
        ("library/__init__.py", "A library", "The library", False),
        ("library/room/native/grid.hpp", "cells", "rows", True),
        ("library/room/native/setup.py", "1", "2", True),
        ("library/page.css", "p", "q", True),
        ("library/unused.py", "", "more = 1", False),
        ("stages/command.py", "unused", "other", False),
    ],
)
def test_an_edit_changes_the_hash_if_it_may_change_a_result(project, name, before, after, counts):
    first = digest(project)
    path = project / name
    path.write_text(path.read_text().replace(before, after))
    assert (digest(project) != first) == counts


def test_the_place_of_the_project_does_not_count(project):
    first = digest(project)
    assert digest(project.rename(project.parent / "moved")) == first


@functools.cache
def loaded_by(*modules: str) -> frozenset[Path]:
    """The files of the project that are loaded when some modules are imported."""
    files = "[getattr(module, '__file__', None) or '' for module in sys.modules.values()]"
    code = f"import sys, {', '.join(modules)}; print(*{files}, sep='\\n')"
    call = [sys.executable, "-c", code]
    ended = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = map(Path, ended.stdout.splitlines())
    ours = {ROOT / "seedbed", ROOT / "stages"}
    return frozenset(path for path in paths if ours & {*path.parents})


@pytest.mark.parametrize("stage", ["train_round", "predict", "report"])
def test_no_module_that_a_stage_loads_escapes_its_hash(stage):
    runtime = {*(ROOT / "seedbed/runtime").rglob("*.py")}
    plumbing = loaded_by("stages.command", "stages.settings") | runtime
    computing = loaded_by(f"stages.{stage}") - plumbing
    assert len(computing) > 10
    assert computing <= CodeDigest(ROOT).files(f"stages.{stage}")


def test_every_network_is_in_the_hash_of_a_training():
    networks = {*(ROOT / "seedbed/models").rglob("*.py")}
    assert networks <= CodeDigest(ROOT).files("stages.train_round")


def test_no_module_of_ours_uses_the_public_names():
    """They are loaded by name, and so are not seen: import from the rooms."""
    rooms = {path.parent.name for path in (ROOT / "seedbed").glob("*/__init__.py")}
    for path in [*(ROOT / "stages").rglob("*.py"), *(ROOT / "seedbed").glob("*/**/*.py")]:
        package = path.relative_to(ROOT).parent.parts
        names = set(imported_modules(ast.parse(path.read_text()), package))
        used = {name.split(".")[1] for name in names if name.startswith("seedbed.")}
        assert used <= rooms, path
