"""Every stage has a command line, and the rules call it with what it takes."""

import functools
import importlib
import inspect
import re
import shlex
import subprocess
import sys
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from stages.command import run_stage
from tests.support.workflow_helpers import (
    CONFIG,
    RANDOM_WALK,
    ROOT,
    copy_project,
    snakemake,
)

STAGES = sorted(
    path.stem
    for path in (ROOT / "stages").glob("*.py")
    if re.search(r"^    run_stage\(", path.read_text(), re.MULTILINE)
)
WITHOUT_SETTINGS = {"masks", "export", "archive", "cam_curve"}
# What no rule runs, and what a rule runs only where something has to be fetched.
BY_HAND = {"compare", "import_masks", "predict_images", "voc_subset", "fetch"}
ON_DEMAND = (
    "results/cam_curve.tsv",
    "results/comp6_test_cls.tar.gz",
    "results/export/cam",
    "results/export/masks-0-val",
)


def function_of(stage: str) -> Callable[..., None]:
    return getattr(importlib.import_module(f"stages.{stage}"), stage)


def option_names(function: Callable[..., None]) -> set[str]:
    """The parameters of a stage's function, and the fields of those that are dataclasses."""
    names = set()
    for name, hint in typing.get_type_hints(function).items():
        if name != "return":
            names |= {field.name for field in fields(hint)} if is_dataclass(hint) else {name}
    return names


def given(stage: str, arguments: list[str]) -> dict[str, object]:
    """What a stage's function would be called with, the fields of dataclasses by themselves."""
    values = {}

    @functools.wraps(function_of(stage))
    def record(**arguments) -> None:
        for name, value in arguments.items():
            values.update(vars(value) if is_dataclass(value) else {name: value})

    run_stage(record, arguments)
    return values


@pytest.mark.parametrize("stage", STAGES)
def test_help_lists_every_option(stage, capsys):
    with pytest.raises(SystemExit) as end:
        given(stage, ["--help"])
    text = capsys.readouterr().out
    listed = re.findall(r"^  --([\w-]+)(.*\n(?: {10,}\S.*\n)*)", text, re.MULTILINE)
    parameters = option_names(function_of(stage))
    options = {"params" if p == "settings" else p.replace("_", "-") for p in parameters}
    assert end.value.code == 0 and {name for name, _ in listed} == options
    assert all(len(about.split()) > 1 for _, about in listed)  # a placeholder, and what it means
    assert inspect.getmodule(function_of(stage)).__doc__.split()[0] in text


def test_a_stage_runs_as_a_module():
    call = [sys.executable, "-m", "stages.masks", "--index", "none"]
    ended = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and "required: --split, --output" in ended.stderr


def commands(project: Path, *targets: str) -> dict[str, list[list[str]]]:
    """The options of all planned jobs, by stage."""
    status, messages = snakemake(project, "--dry-run", "--printshellcmds", *targets)
    assert status == 0, messages
    found: dict[str, list[list[str]]] = {}
    for stage, options in re.findall(r"python -m\}? stages\.(\w+) (.*) 2>&1 \| tee", messages):
        found.setdefault(stage, []).append(shlex.split(options))
    return found


def test_every_rule_calls_its_stage_with_options_that_it_has(tmp_path):
    found = commands(copy_project(tmp_path / "default", CONFIG))
    rounds = [{"supervise": "pseudo_labels"}]
    psa = copy_project(tmp_path / "psa", {**CONFIG, **RANDOM_WALK, "rounds": rounds})
    found |= commands(psa, "results/affinity/cam/1-of-1.h5", *ON_DEMAND)
    assert sorted({*found, *BY_HAND}) == STAGES
    for stage, calls in found.items():
        for arguments in calls:
            values = given(stage, arguments)
            assert ("settings" in values) == (stage not in WITHOUT_SETTINGS)


def test_further_inputs_arrive_under_their_names(tmp_path):
    weights = {"weights": "weights/initial file.pt"}
    seeds, selected = CONFIG["rounds"]
    config = {
        **CONFIG,
        "classifier": {**CONFIG["classifier"], **weights},
        "group": {**CONFIG["group"], **weights},
        "pseudo_labels": {"attention": "maximum"},
        "rounds": [seeds, {**selected, "weights": "classifier"}],
    }
    project = copy_project(tmp_path, config)
    (project / "data/weights").mkdir(parents=True)
    (project / "data/weights/initial file.pt").write_bytes(b"weights")
    found = commands(project)
    for stage in ("train_classifier", "train_group"):
        (arguments,) = found[stage]
        assert given(stage, arguments)["initial"] == Path("data/weights/initial file.pt")
    initial = {given("train_round", arguments)["initial"] for arguments in found["train_round"]}
    assert initial == {None, Path("results/classifier/weights.pt")}
    labels = given("pseudo_labels", found["pseudo_labels"][0])
    assert labels["attention"] == [Path("results/group/cam/1-of-1.h5")]
    assert labels["second_attention"] == [Path("results/cam/1-of-1.h5")]
