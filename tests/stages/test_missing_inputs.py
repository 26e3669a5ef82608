"""Every stage without its inputs, and with only some of them: it works or ends in one line."""

import ast
import importlib
import inspect
import itertools
import json
import re
import typing
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seedbed.training.network import NetworkSpec
from stages.command import Option, options_of, run_stage
from tests.support.stage_inputs import write_inputs
from tests.support.workflow_helpers import ROOT


def stage_functions() -> Iterator[Callable[..., None]]:
    """The functions that the stages hand to run_stage, other modes included."""
    for path in sorted((ROOT / "stages").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_stage":
                names = [n.id for n in ast.walk(node) if isinstance(n, ast.Name)]
                module = importlib.import_module(f"stages.{path.stem}")
                functions = [getattr(module, name, None) for name in names if name != "run_stage"]
                yield from filter(inspect.isfunction, functions)


MODES = {"check": "--check", "compare_with_index": "--compare"}  # of the stage convert
STAGES = {function.__name__: function for function in stage_functions()}
TRAINING = {"iterations": 1, "batch": 1, "crop": 32, "learning_rate": 0.001}
ROUND = {"network": "tiny_seg", **TRAINING}
DEVKIT = {"devkit": "mini/VOCdevkit/VOC2012", "sbd": "mini/benchmark_RELEASE/dataset"}
# Settings with which a stage takes its inputs in other ways.
SETTINGS = {
    "affinity_scores": [{}, {"low": "psa", "high": "psa"}],
    "cam": [{}, {"maps": "psa"}],
    "check": [{"devkit": "none"}, DEVKIT, {**DEVKIT, "label_source": "cues"}],
    "compare_with_index": [{"devkit": "none"}, DEVKIT, {**DEVKIT, "label_source": "cues"}],
    "convert": [{"devkit": "none"}, DEVKIT, {**DEVKIT, "label_source": "cues"}],
    "group_cam": [{"source": s} for s in ("accumulated", "network", "both")] + [{"maps": "grey"}],
    "mini_dataset": [{"train": 12, "val": 6, "size": 32}],
    "pseudo_labels": [
        *({"attention": a, "rule": "argmax"} for a in ("group", "cam", "maximum", "random_walk")),
        *({"attention": a} for a in ("group", "cam", "maximum")),
        {"masks": "pngs"},
    ],
    "saliency": [{}, {"maps": "grey"}],
    "seeds": [{"grid": 8}],
    "targets": [
        *({"supervise": s} for s in ("pseudo_labels", "predictions", "selected", "ground_truth")),
        {"supervise": "selected", "masks": "pngs"},
    ],
    "train_affinity": [{"network": "vgg16_affinity", **TRAINING, "crop": 80}],
    "train_classifier": [{"network": "tiny_cls", **TRAINING}],
    "train_group": [{"network": "tiny_group", **TRAINING, "group_size": 2}],
    "train_round": [
        {"supervise": "seeds", "method": "dsrg", **ROUND},
        {"supervise": "pseudo_labels", **ROUND},
    ],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    """A folder with one artefact of each kind."""
    return write_inputs(tmp_path_factory.mktemp("inputs"))


# Values of the options that are no artefact.
SCALARS = {
    **{"shard": "1-of-1", "round": "0", "split": "train", "group_size": "2", "what": "cam"},
    **{"crf": "{}", "config": "{}", "style": "palette", "ids": "class", "code": "x", "bits": "16"},
    **{"tile": "64", "overlap": "8", "tolerance": "1", "tuning_every": "0", "side": "32"},
    **{"seed": "0", "rounds": "3", "workers": "1", "threads": "1", "deterministic": "1"},
    "device": "cpu",
}
# Inputs of another name than their file. Weights are a classifier's unless the stage says so.
FILES = {
    **{"index": "index.json", "data": ".", "given": "pngs", "npy": "psa", "images": "photos"},
    **{"labels": "labels.csv", "runs": "run", "quality": "run/quality.tsv", "logs": "log.tsv"},
    **{"metrics": "run/metrics.json", "benchmarks": "run/benchmarks", "jobs": "jobs.dot"},
    **{"cue_pickle": "none.pickle", "cue_list": "list.txt", "initial": "cls.pt", "maps": "cams.h5"},
    **{"weights": "cls.pt", "annotations": "annotations"},
}
WEIGHTS = {"group_cam": "group.pt", "predict": "seg.pt", "predict_images": "seg.pt"}


def is_output(option: Option) -> bool:
    return bool(re.match("to write|writes|folder to write", option.hint.__metadata__[0]))


def is_list(option: Option) -> bool:
    return typing.get_origin(option.hint.__origin__) is list


def is_flag(option: Option) -> bool:
    return option.default is False


def arguments_of(option: Option, stage: str, project: Path, outputs: Path) -> list[str]:
    """An option with a valid value."""
    name = f"--{option.name.replace('_', '-')}"
    if is_flag(option):
        return [name]
    if is_output(option):
        return [name, str(outputs / option.name)]
    if option.name in SCALARS and not (option.name == "crf" and stage == "predict_images"):
        return [name, SCALARS[option.name]]
    file = FILES.get(option.name, f"{option.name}.h5")
    return [name, str(project / (WEIGHTS.get(stage, file) if option.name == "weights" else file))]


def is_input(option: Option) -> bool:
    return not is_output(option) and not is_flag(option) and option.name not in SCALARS


def is_required(option: Option) -> bool:
    return option.default is inspect.Parameter.empty and len(option.hint.__metadata__) < 3


def stage_options(stage: str) -> list[Option]:
    """The options of a stage but --params.

    Initial weights are tried with the small networks alone: AffinityNet takes seconds to train.
    """
    options = [o for o in options_of(STAGES[stage]) if hasattr(o.hint, "__metadata__")]
    return [o for o in options if (stage, o.name) != ("train_affinity", "initial")]


def line_of(stage: str, arguments: list[str]) -> str | None:
    """The line that a stage ends with, as the user sees it; None if it works."""
    modes = {MODES[stage]: STAGES[stage]} if stage in MODES else {}
    try:
        run_stage(STAGES[stage], [*modes, *arguments], modes)
    except SystemExit as end:
        return end.code if isinstance(end.code, str) else f"status {end.code}"
    return None


def call(stage: str, settings: dict, options: list[Option], project: Path, outputs: Path) -> list:
    """The arguments of a stage: options with valid values, and where and how it runs."""
    outputs.mkdir(parents=True)
    environment = [o for o in stage_options(stage) if o.name in ("data", "device", "threads")]
    named = [o for o in stage_options(stage) if o.name == "split"]  # else test, which has no images
    given = [*options, *environment, *(o for o in named if o not in options)]
    arguments = [a for option in given for a in arguments_of(option, stage, project, outputs)]
    if settings.get("attention") == "random_walk":  # with background as the first map
        arguments = [re.sub(r"\w*attention\.h5", "walks.h5", a) for a in arguments]
    has_settings = len(stage_options(stage)) < len(list(options_of(STAGES[stage])))
    return [*arguments, *(["--params", json.dumps(settings)] if has_settings else [])]


# What a line names: an option, a file, a folder, weights of another kind, or problems above it.
NEEDED = (
    r"--[a-z]|\.pickle is missing|there is no folder|of kind |; correct them first|"
    r"; convert it again|contains no JSON file"
)
CASES = [
    (stage, settings)
    for stage in STAGES
    for settings in SETTINGS.get(stage, [{}])
    # All inputs of train_affinity are required but the initial weights; fetch has its own tests.
    if stage not in ("train_affinity", "fetch")
]


def case_name(value: object) -> str:
    if isinstance(value, str):
        return value
    return "-".join(str(v) for v in value.values() if isinstance(v, str)) or "plain"


def test_every_stage_is_called():
    scripts = {p.stem for p in (ROOT / "stages").glob("*.py") if "run_stage(" in p.read_text()}
    assert scripts - {"command"} == set(STAGES) - set(MODES)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_without_options_says_which_it_needs(stage, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    required = [o for o in stage_options(stage) if is_required(o)]
    line = line_of(stage, [])
    if not required:
        assert line.startswith("python -m stages.")
        return
    assert line == "status 2"
    told = capsys.readouterr().err.splitlines()[-1]
    assert all(f"--{option.name.replace('_', '-')}" in told for option in required)


@pytest.fixture(scope="module")
def affinity_networks() -> list:
    """The AffinityNet of all trainings, once it is built: that takes seconds."""
    return []


@pytest.fixture
def quick(monkeypatch, project, affinity_networks) -> None:
    """Calls in the project's folder, without building AffinityNet each time."""
    build = NetworkSpec.build

    def kept(spec, **arguments):
        if spec.name != "vgg16_affinity":
            return build(spec, **arguments)
        if not affinity_networks:
            affinity_networks.append(build(spec, **arguments))
        return affinity_networks[0]

    monkeypatch.chdir(project)
    monkeypatch.setattr(NetworkSpec, "build", kept)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("stage", "settings"), CASES, ids=case_name)
def test_a_stage_with_one_input_or_none_works_or_says_what_it_needs(
    stage, settings, project, tmp_path
):
    required = [o for o in stage_options(stage) if is_required(o)]
    single = [o for o in stage_options(stage) if is_input(o) and o.name not in ("data", "index")]
    for number, more in enumerate([[], *([o] for o in single if o not in required)]):
        outputs = tmp_path / str(number)
        line = line_of(stage, call(stage, settings, [*required, *more], project, outputs))
        if line is not None:
            check_line(line, stage, outputs)
            assert re.search(NEEDED, line), line


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage != "fetch"])
def test_an_input_that_is_no_file_ends_in_one_line(stage, project, tmp_path):
    settings = SETTINGS.get(stage, [{}])[0]
    required = [o for o in stage_options(stage) if is_required(o)]
    inputs = [o for o in stage_options(stage) if is_input(o) and o.name != "data"]
    cases = itertools.product(inputs, (["nowhere"], ["garbage"], []))
    for number, (option, value) in enumerate(cases):
        outputs = tmp_path / str(number)
        if not value and not is_list(option):
            continue
        others = [o for o in required if o.name != option.name]
        arguments = call(stage, settings, others, project, outputs)
        name = f"--{option.name.replace('_', '-')}"
        assert name not in arguments
        line = line_of(stage, [name, *value, *arguments])
        if line is not None:
            check_line(line, stage, outputs)
        elif is_required(option):
            assert not value, f"{name} {value} is accepted"


def check_line(line: str, stage: str, outputs: Path) -> None:
    """One line with the stage's name, and no output."""
    script = "convert" if stage in MODES else stage
    assert line.startswith(f"python -m stages.{script}: error: ") and "\n" not in line
    assert not list(outputs.iterdir()), line


ONE_LINE = {
    "targets": ({"supervise": "ground_truth"}, "supervise: ground_truth needs --masks"),
    "seeds": ({"grid": 8}, "cues need --cams and --saliency, or a file of cues"),
    "pseudo_labels": ({"attention": "maximum"}, "give --attention and --second-attention"),
    "train_round": ({"supervise": "pseudo_labels", **ROUND}, "trains on --targets: give"),
    "audit": ({}, "no step to score: give"),
    "random_walk": ({}, "cls.pt is tiny_cls, of kind cls: name weights of kind affinity"),
}


@pytest.mark.parametrize("stage", ONE_LINE)
def test_the_line_says_what_to_give(stage, project, tmp_path):
    settings, expected = ONE_LINE[stage]
    required = [o for o in stage_options(stage) if is_required(o)]
    assert expected in line_of(stage, call(stage, settings, required, project, tmp_path / "out"))


def test_targets_of_a_later_round_need_all_that_the_round_left(project, tmp_path):
    chosen = [o for o in stage_options("targets") if is_required(o) or o.name == "refined"]
    settings = {"supervise": "selected"}
    line = line_of("targets", call("targets", settings, chosen, project, tmp_path / "out"))
    assert "selected needs --masks and --predictions and --saliency: give" in line


@pytest.mark.parametrize(("stage", "option"), [("audit", "--crf"), ("report", "--config")])
def test_an_option_in_json_is_read_as_settings_are(stage, option, project, tmp_path):
    required = [o for o in stage_options(stage) if is_required(o)]
    arguments = call(stage, {}, required, project, tmp_path / "out")
    line = line_of(stage, [*arguments, option, "{"])
    assert line.startswith(f"python -m stages.{stage}: error: {option}: ") and "\n" not in line
