"""docs/config.md and docs/config.schema.json say what stages/settings/ says."""

import json
import re

import jsonschema
import pytest
import yaml

from stages.config_page import page, schema
from stages.settings import (
    ConvertSettings,
    CRFSettings,
    GroupSettings,
    MaskCRFSettings,
    RoundSettings,
    Settings,
    TrainingSettings,
)
from tests.support.workflow_helpers import CONFIG, ROOT

COMMAND = "python -m stages.config_page"
CONFIGS = [ROOT / "config.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))]


def section(place: str) -> str:
    (text,) = re.findall(rf"^## {re.escape(place)}\n(.*?)(?=^## |\Z)", page(), re.M | re.S)
    return text


def keys(place: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section(place), re.MULTILINE)


@pytest.mark.parametrize(("name", "make"), [("config.md", page), ("config.schema.json", schema)])
def test_the_committed_files_are_up_to_date(name, make):
    written = (ROOT / "docs" / name).read_text(encoding="utf-8")
    assert written == make(), f"docs/{name} is stale: {COMMAND}"


@pytest.mark.parametrize(
    ("place", "row"),
    [
        ("pathvars", "| `results` | string | `results` | folder of the run |"),
        ("seeds", "| `grid` | integer ≥ 1 | `41` |"),
        ("convert.coco", "| `images` | string | must be given | folder of the train images |"),
        ("run", "| `device` | `auto`, `cpu` or `cuda` | `auto` |"),
        ("training", "| `batch` | integer ≥ 1 | must be given |"),
        ("training", "| `view` | block [training.view](#trainingview) | `{kind: warp}` |"),
        ("training.view", "| `flip` | `true` or `false` | `true` |"),
        ("training.view", "| `hue` | number ≥ 0 and ≤ 0.5 | `0` |"),
        ("training.view", "| `scale` | 2 values, each number > 0 | `[1, 1]` |"),
        ("training.view", "| `long_side` | `null` or 2 values, each integer ≥ 1 | `null` |"),
        ("training.schedule", "| `every` | integer ≥ 1 | must be given |"),
        (
            "affinity",
            "| `schedule` | block [training.schedule](#trainingschedule) | `{kind: poly}` |",
        ),
        ("pathvars", "| `saliency` | string |  | folder of the saliency alone; left out: "),
        ("predict", "| `scales` | list, at least one, each number > 0 | `[1]` |"),
        ("group", "| `pooling` | block [classifier.pooling](#classifierpooling) |"),
        ("group", "| `{kind: sgd, nesterov: true, decay_biases: true}` |"),
        ("pseudo_labels", "| `crf` | `null` or block [affinity_scores.crf](#affinity_scorescrf) |"),
        ("rounds.dsrg.crf", "| `bilateral_sxy` | number ≥ 0.1 | `6.666666666666667` |"),
        ("rounds", "| `crf` | block [crf](#crf) |  | keys that override the block crf |"),
    ],
)
def test_a_row_says_what_a_key_takes(place, row):
    assert row in section(place)


@pytest.mark.parametrize(
    ("place", "model"),
    [
        ("convert", ConvertSettings),
        ("training", TrainingSettings),
        ("affinity_scores.crf", CRFSettings),
        ("crf", MaskCRFSettings),
    ],
)
def test_a_block_lists_all_its_keys_in_order(place, model):
    assert keys(place) == list(model.model_fields)


@pytest.mark.parametrize(("place", "model"), [("group", GroupSettings), ("rounds", RoundSettings)])
def test_a_training_lists_what_is_new_or_differs_in_default(place, model):
    fields, shared = model.model_fields, TrainingSettings.model_fields
    changed = [k for k in fields if k not in shared or fields[k].default != shared[k].default]
    assert sorted(keys(place)) == sorted(changed)
    assert "All keys of [training](#training)" in section(place)


def test_every_kind_has_a_table_or_no_keys():
    kinds = re.findall("^`kind: (.*?)`", section("training.schedule"), re.MULTILINE)
    assert kinds == ["constant", "poly", "step", "multi_step", "one_cycle"]
    assert keys("training.optimizer") == [
        *("momentum", "nesterov", "weight_decay", "decay_biases"),
        *("weight_decay", "decay_biases"),
    ]


def test_every_block_has_a_section_and_every_link_a_heading():
    headings = re.findall("^## (.*)$", page(), re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert set(Settings.model_fields) <= set(headings)
    links = re.findall(r"\]\(#(.*?)\)", page())
    assert {"roundsdsrg", "roundsselection", "convertfolder"} <= set(links)
    assert set(links) <= {heading.replace(".", "") for heading in headings}


def test_every_key_has_a_description():
    blocks = json.loads(schema())
    for name, block in {"Settings": blocks, **blocks["$defs"]}.items():
        for key, value in block["properties"].items():
            assert key == "kind" or "$ref" in value or "anyOf" in value or value["description"], (
                name
            )


def errors(config: dict) -> list[str]:
    validator = jsonschema.Draft202012Validator(json.loads(schema()))
    return [error.json_path for error in validator.iter_errors(config)]


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_schema_accepts_every_config_and_recipe(path):
    jsonschema.Draft202012Validator.check_schema(json.loads(schema()))
    assert errors(yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_and_recipe_names_the_schema_for_editors(path):
    (line,) = re.findall(r"^# yaml-language-server: \$schema=(.*)$", path.read_text(), re.MULTILINE)
    assert (path.parent / line).resolve() == ROOT / "docs/config.schema.json"


@pytest.mark.parametrize(
    ("block", "place"),
    [
        ({"seeds": {"gird": 41}}, "$.seeds"),
        ({"group": {"view": {"kind": "warp", "long_side": [1, 2]}}}, "$.group"),
        ({"training": {"schedule": {"kind": "stepp"}}}, "$.training.schedule"),
        ({"training": {"optimizer": {"momentum": 2}}}, "$.training.optimizer"),
        ({"cam": {"scales": []}}, "$.cam.scales"),
        ({"pathvars": {"shared": None}}, "$.pathvars.shared"),
    ],
)
def test_the_schema_finds_mistakes(block, place):
    assert errors({**CONFIG, **block}) == [place]


def test_the_schema_accepts_a_block_that_leaves_out_its_kind():
    assert errors({"training": {"optimizer": {"weight_decay": 0.1}, "view": {"jitter": 0.1}}}) == []
