"""docs/config.md says what stages/config.py and stages/settings.py say."""

import re

import pytest
from stages.config import Settings

from stages.config_page import page
from stages.settings import (
    ConvertSettings,
    CRFSettings,
    GroupSettings,
    MaskCRFSettings,
    RoundSettings,
    TrainingSettings,
)
from tests.support.workflow_helpers import ROOT

COMMAND = "python -m stages.config_page > docs/config.md"


def section(place: str) -> str:
    (text,) = re.findall(rf"^## {re.escape(place)}\n(.*?)(?=^## |\Z)", page(), re.M | re.S)
    return text


def keys(place: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section(place), re.MULTILINE)


def test_the_committed_page_is_in_step():
    written = (ROOT / "docs/config.md").read_text(encoding="utf-8")
    assert written == page(), f"docs/config.md is stale: {COMMAND}"
    assert COMMAND in written


@pytest.mark.parametrize(
    ("place", "row"),
    [
        ("At the top", "| `pathvars` | keys and values | `{results: results}` | Snakemake's own |"),
        ("seeds", "| `grid` | whole number ≥ 1 | `41` | cells on each side of the cue grid |"),
        ("convert.coco", "| `images` | text | must be given | folder of the train images |"),
        ("run", "| `device` | `auto`, `cpu` or `cuda` | `auto` | where networks run |"),
        ("training", "| `flip` | `true` or `false` | `true` | mirror with probability one half |"),
        ("training", "| `hue` | number ≥ 0 and ≤ 0.5 | `0` | ± share of the circle |"),
        ("training", "| `scale` | 2 values, each number > 0 | `[1, 1]` | range of random zoom |"),
        ("training", "| `batch` | whole number ≥ 1 | `16` |"),
        ("training", "| `long_side` | `null` or 2 values, each whole number ≥ 1 | `null` |"),
        ("predict", "| `scales` | list, at least one, each number > 0 | `[1]` |"),
        ("classifier", "| `network` | text | `tiny_cls` | name for seedbed.models.build |"),
        ("group", "| `pooling` | block [classifier.pooling](#classifierpooling) |"),
        ("pseudo_labels", "| `crf` | `null` or block [affinity_scores.crf](#affinity_scorescrf) |"),
        (
            "rounds.dsrg",
            "| `crf` | block [affinity_scores.crf](#affinity_scorescrf) |"
            " `{gaussian_sxy: 0.25, bilateral_sxy: 6.667}` |",
        ),
        ("rounds", "| `crf` | block [crf](#crf) |  | over the block crf |"),
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
def test_a_training_lists_what_is_new_or_begins_otherwise(place, model):
    fields, shared = model.model_fields, TrainingSettings.model_fields
    changed = [k for k in fields if k not in shared or fields[k].default != shared[k].default]
    assert sorted(keys(place)) == sorted(changed)
    assert "All keys of [training](#training)" in section(place)


def test_every_block_has_a_section_and_every_link_a_heading():
    headings = re.findall("^## (.*)$", page(), re.MULTILINE)
    assert len(headings) == len(set(headings))
    assert set(Settings.model_fields) - {"pathvars"} <= set(headings)
    links = re.findall(r"\]\(#(.*?)\)", page())
    assert {"roundsdsrg", "roundsselection", "convertfolder"} <= set(links)
    assert set(links) <= {heading.replace(".", "") for heading in headings}
