"""Recipes state all that they depend on, and differ from their parents only where they say so."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from stages.config import Settings

from tests.support.workflow_helpers import ROOT

RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
WHERE_AND_HOW = {"run", "pathvars"}
NAMES = ("ceiling", "shuffled-tags", "voc-animals", "voc-animals-ceiling")


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def config() -> dict[str, Any]:
    return load(ROOT / "config.yaml")


def recipe(name: str) -> dict[str, Any]:
    return load(ROOT / f"recipes/{name}.yaml")


def merged(below: Any, above: Any) -> Any:
    """What Snakemake makes of a config file and another that lies over it."""
    if isinstance(below, dict) and isinstance(above, dict):
        both = {key: merged(below[key], above[key]) for key in below.keys() & above.keys()}
        return {**below, **above, **both}
    return above


def keys(block: Any, place: str = "") -> set[str]:
    """Dotted names of all keys; lists count as wholes, and so does what a network is told."""
    if not isinstance(block, dict) or place.endswith("options"):
        return {place}
    return {key for name, value in block.items() for key in keys(value, f"{place}.{name}")}


def without(block: dict, *names: str) -> dict:
    return {name: value for name, value in block.items() if name not in names}


def settings(content: dict[str, Any]) -> dict[str, Any]:
    """The settings in full, with each default in its place."""
    return Settings.model_validate(merged(config(), content)).model_dump()


def results(content: dict[str, Any]) -> str:
    return content.get("pathvars", {}).get("results", "results")


@pytest.mark.parametrize("name", NAMES)
def test_the_recipes_of_the_readme_are_there(name):
    assert ROOT / f"recipes/{name}.yaml" in RECIPES
    assert f"recipes/{name}.yaml" in (ROOT / "README.md").read_text()


def test_no_two_recipes_write_into_one_folder():
    folders = [results(content) for content in (config(), *map(load, RECIPES))]
    assert len(set(folders)) == len(folders)
    assert folders[0] == "results"
    assert all(folder.startswith("results/") for folder in folders[1:])


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_does_not_hang_on_the_default_config(path):
    wanted, stated = (keys(without(c, *WHERE_AND_HOW)) for c in (config(), load(path)))
    blocks = {key.rpartition(".")[0] for key in stated}  # one that is null elsewhere
    assert sorted(wanted - stated - blocks) == []


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_valid(path):
    assert settings(load(path))["rounds"]


def test_the_default_config_is_valid_and_states_every_block():
    assert settings({})["pathvars"] == {"results": "results"}
    assert config().keys() | {"pathvars"} == Settings.model_fields.keys()


def assert_ceiling_of(ceiling: dict[str, Any], parent: dict[str, Any]) -> None:
    """Only the last round is trained, in all like the parent's, but on the truth."""
    ours, theirs = settings(ceiling), settings(parent)
    assert without(ours, "rounds", "pathvars") == without(theirs, "rounds", "pathvars")
    (last,) = ours["rounds"]
    assert last["supervise"] == "ground_truth"
    own = ("supervise", "selection")
    assert without(last, *own) == without(theirs["rounds"][-1], *own)


def test_the_ceiling_differs_in_its_supervision_alone():
    assert_ceiling_of(recipe("ceiling"), {})


def test_the_ceiling_of_the_animals_differs_in_its_supervision_alone():
    assert_ceiling_of(recipe("voc-animals-ceiling"), recipe("voc-animals"))


def test_shuffled_tags_differ_in_that_alone():
    ours, default = settings(recipe("shuffled-tags")), settings({})
    assert ours["convert"]["shuffle_tags"] and not default["convert"]["shuffle_tags"]
    ours["convert"]["shuffle_tags"] = False
    assert without(ours, "pathvars") == without(default, "pathvars")


def test_the_check_of_keys_sees_a_missing_one():
    whole = {"a": {"b": 1, "options": {"x": 1}}, "rounds": [{"c": 1}]}
    assert keys(whole) == {".a.b", ".a.options", ".rounds"}
    assert keys(without(whole, "rounds")) == {".a.b", ".a.options"}
