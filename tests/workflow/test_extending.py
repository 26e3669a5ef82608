"""The examples of docs/extending.md: applied to a copy of the project, and run as the page says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seedbed.data.index import Index
from seedbed.formats.maps import Maps
from seedbed.formats.masks import write_mask
from seedbed.formats.tables import read_tsv
from tests.support.workflow_helpers import ROOT, finished_run, planned

PAGE = (ROOT / "docs/extending.md").read_text()
EXAMPLES = ("A network", "A layout of data sets", "A stage with its rule", "A recipe")
BLOCK = re.compile(
    r"^(?:New file|In) `(?P<path>[^`]+)`(?:, (?P<where>after|before|at the end))?"
    r"(?: `(?P<line>[^`]+)`)?:\n\n```\w+\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
LOAD_ALEXNET = """\
import seedbed, torch
source, model = seedbed.build("alexnet_cls", 2), seedbed.build("alexnet_seg", 3)
published = {name: v for name, v in source.state_dict().items() if name.startswith("features.")}
torch.save({**published, "classifier.6.weight": torch.zeros(1000, 4096)}, "published.pth")
report = seedbed.load_weights(model, "published.pth")
print(*(name for name in (*report.placed, *report.unused) if name.endswith("weight")))
images = torch.zeros(1, 3, 64, 96)
print(*(tuple(network.extract_features(images).shape) for network in (source, model)))
"""


def section(title: str) -> str:
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)[1]


def apply_blocks(title: str, project: Path) -> None:
    """Write the files of an example, and its lines into files of the project."""
    for block in BLOCK.finditer(section(title)):
        path, code = project / block["path"], block["code"]
        if block["where"] is None:
            assert not path.exists()
            path.write_text(code)
            continue
        lines = path.read_text().splitlines(keepends=True)
        if re.match(r"(class|rule) ", code):
            code = f"\n\n{code}" if block["where"] == "at the end" else f"{code}\n\n"
        place = len(lines)
        if block["line"]:
            (place,) = (k for k, line in enumerate(lines) if line.strip() == block["line"])
            place += block["where"] == "after"
        path.write_text("".join([*lines[:place], code, *lines[place:]]))


def commands(title: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", section(title), re.MULTILINE | re.DOTALL)
    return [command for block in blocks for command in block.splitlines()]


def call(project: Path, command: str, status: int = 0) -> str:
    """What a command prints, run in the project as a user would who activated the environment."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(project)}
    ended = subprocess.run(
        ["bash", "-c", command],
        cwd=project,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert ended.returncode == status, ended.stdout
    return ended.stdout


def run_example(title: str, project: Path) -> list[str]:
    """Apply an example and run its commands; returns what each printed."""
    apply_blocks(title, project)
    return [call(project, command) for command in commands(title)]


@pytest.fixture
def project(tmp_path_factory, tmp_path) -> Path:
    """A copy of the finished small run, with docs/."""
    copy = tmp_path / "project"
    shutil.copytree(finished_run(tmp_path_factory.getbasetemp()), copy)
    shutil.copytree(ROOT / "docs", copy / "docs", ignore=shutil.ignore_patterns("pictures"))
    return copy


def test_every_section_is_run():
    titles = re.findall("^## (.*)$", PAGE, re.MULTILINE)
    assert tuple(titles) == (*EXAMPLES, "A published system")  # which has no code
    shown = len(re.findall(r"^```(?!sh$)\w+$", PAGE, re.MULTILINE))
    assert shown == len(BLOCK.findall(PAGE)) > 0


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_has_at_most_thirty_lines_of_code(title):
    blocks = [block for block in BLOCK.finditer(section(title)) if "/" in block["path"]]
    lines = [line for block in blocks for line in block["code"].splitlines() if line.strip()]
    assert len(lines) <= 30


def test_the_examples_fit_together_and_are_clean(tmp_path):
    for name in ("seedbed", "stages", "workflow", "recipes"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for title in EXAMPLES:
        apply_blocks(title, tmp_path)
    call(tmp_path, "ruff check . && ruff format --check . && snakefmt --check workflow")


def test_the_network_is_built_listed_and_trained(project):
    built, _, _ = run_example("A network", project)
    assert built.startswith("Segmenter(")
    assert "`alexnet_cls`" in (project / "docs/config.md").read_text()
    rows = read_tsv(project / "results/alexnet/classifier/log.tsv")
    assert rows[-1]["step"] == "6"

    placed, shapes = call(project, f"python - <<'E'\n{LOAD_ALEXNET}E").splitlines()
    numbers = (0, 3, 6, 8, 10)
    assert placed == " ".join([*(f"features.{k}.weight" for k in numbers), "classifier.6.weight"])
    assert shapes == "(1, 256, 4, 6) (1, 256, 8, 12)"  # at stride 16 and 8


def test_a_network_counts_as_a_change_of_every_training(project):
    apply_blocks("A network", project)
    assert {"classifier", "group", "train-0", "train-1"} <= planned(project)
    assert planned(project, "--rerun-triggers", "mtime", "input") == set()


def test_the_layout_converts_a_data_set(project):
    data = project / "data/animals"
    names = ["a cat", "dog", "owl"]
    for number in range(6):
        folder = data / "images" / names[number % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 32), (number, 0, 0)).save(folder / f"{number}.png")
    (data / "masks").mkdir()
    write_mask(data / "masks/5.png", np.full((32, 40), 3, np.uint8))

    _, checked, _ = run_example("A layout of data sets", project)
    assert "images: 3 classes, 5 train, 1 val" in checked
    assert "## convert.class_folders" in (project / "docs/config.md").read_text()
    index = Index.load(project / "results/animals/dataset/index.json")
    assert index.class_names == ["background", *names]
    assert [entry.id for entry in index.split("val")] == ["5"]
    for entry in index.images:
        (label,) = entry.labels
        assert Path(entry.path).parent.name == names[label - 1]
    with Maps(project / "results/animals/dataset/masks.h5") as masks:
        assert list(masks) == ["5"]

    other = data / "images" / names[0] / "copy.png"
    shutil.copy(data / index.images[0].path.removeprefix("animals/"), other)
    (data / "images/another").mkdir()
    shutil.copy(other, data / "images/another/copy.png")
    assert "have the same name: rename one of them" in call(
        project, commands("A layout of data sets")[1], status=1
    )


def test_the_stage_runs_and_an_edit_of_it_plans_its_job_alone(project):
    help_text, _ = run_example("A stage with its rule", project)
    assert "--masks" in help_text
    with Maps(project / "results/pseudo_labels.h5") as masks:
        pixels = np.concatenate([mask.ravel() for mask in masks.values()])
    ids, counts = np.unique(pixels, return_counts=True)
    rows = read_tsv(project / "results/pixel_counts.tsv")
    assert {int(row["class"]): int(row["pixels"]) for row in rows} == dict(
        zip(ids.tolist(), counts.tolist(), strict=True)
    )

    targets = ("results/pixel_counts.tsv", "results/miou.txt", "results/quality.tsv")
    assert planned(project, *targets) == set()
    stage = project / "stages/pixel_counts.py"
    stage.write_text(stage.read_text().replace("if count]", "if count > 1]"))
    assert planned(project, *targets) == {"pixel_counts"}


@pytest.mark.recipes
def test_the_recipe_runs_to_the_final_score(project):
    run_example("A recipe", project)
    assert "mIoU" in (project / "results/trial/miou.txt").read_text()
    recipe = (project / "recipes/mini-argmax.yaml").read_text().splitlines()
    assert all(line.startswith("# ") for line in recipe[:3])
    assert planned(project) == set()  # the default run is not affected
