"""Every stage has a command line, and the rules use only what it offers."""

import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from stages.command import run_stage
from tests.workflow_helpers import ROOT, code_of_rules

SHARED = {"command", "settings", "training_run"}
STAGES = sorted(
    path.stem
    for path in (ROOT / "stages").glob("*.py")
    if path.stem not in SHARED and not path.stem.startswith("_")
)


def function_of(name: str) -> Callable[..., None]:
    module = importlib.import_module(f"stages.{name}")
    return getattr(module, name)


def options_of(name: str, capsys) -> set[str]:
    with pytest.raises(SystemExit) as end:
        run_stage(function_of(name), ["--help"])
    assert end.value.code == 0
    return set(re.findall(r"^  (--[\w-]+)", capsys.readouterr().out, re.MULTILINE))


@pytest.mark.parametrize("name", STAGES)
def test_help_lists_every_option_and_what_it_is(name, capsys):
    expected = set()
    for parameter in inspect.signature(function_of(name)).parameters:
        option = "params" if parameter == "settings" else parameter.replace("_", "-")
        expected.add(f"--{option}")
    assert options_of(name, capsys) == expected
