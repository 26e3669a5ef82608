"""config.yaml and the recipes: short, valid, apart from each other, and true to their papers."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.settings import DEFAULT_KINDS, combine, parse_config
from tests.support.recipe_helpers import SYSTEMS
from tests.support.workflow_helpers import ROOT

CONFIG = ROOT / "config.yaml"
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
ANIMALS = ROOT / "recipes/voc-animals.yaml"
OVERLAYS = {
    "ceiling": CONFIG,
    "shuffled-tags": CONFIG,
    **{path.stem: ANIMALS for path in RECIPES if path.stem.startswith("voc-animals-")},
}


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text())


def settings(path: Path, *between: Path) -> dict[str, Any]:
    """The settings of a recipe, over others if it is an overlay, with each default in its place."""
    files = [OVERLAYS[path.stem], *between, path] if path.stem in OVERLAYS else [path]
    config = combine([(file, load(file)) for file in files], {}, DEFAULT_KINDS, ROOT)
    return parse_config(config).model_dump()


def without(block: dict, *names: str) -> dict:
    return {name: value for name, value in block.items() if name not in names}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_readme_names_every_recipe(path):
    assert f"recipes/{path.name}" in (ROOT / "README.md").read_text()


def test_no_two_recipes_write_into_one_folder():
    folders = [settings(path)["pathvars"]["results"] for path in (CONFIG, *RECIPES)]
    assert len(set(folders)) == len(folders)
    assert folders == ["results", *(f"results/{path.stem}" for path in RECIPES)]


@pytest.mark.parametrize("path", [CONFIG, *RECIPES], ids=lambda path: path.stem)
def test_a_recipe_is_short_and_begins_with_what_it_is(path):
    lines = path.read_text().splitlines()
    assert len(lines) <= (30 if path.stem in OVERLAYS else 60)
    assert all(line.startswith("# ") for line in lines[:3]) and lines[2].startswith("# Needs ")
    assert load(path).get("overlay_of") == (
        str(OVERLAYS[path.stem].relative_to(ROOT)) if path.stem in OVERLAYS else None
    )


def test_all_configs_together_are_short():
    assert sum(len(path.read_text().splitlines()) for path in (CONFIG, *RECIPES)) <= 650


def test_the_default_run_leaves_out_what_it_does_not_use():
    assert settings(CONFIG)["affinity"] is None


def assert_ceiling(name: str) -> None:
    """Only the last round is trained, in all like the parent's, but on the truth."""
    ours, theirs = settings(ROOT / f"recipes/{name}.yaml"), settings(OVERLAYS[name])
    assert without(ours, "rounds", "pathvars") == without(theirs, "rounds", "pathvars")
    (last,) = ours["rounds"]
    assert last["supervise"] == "ground_truth"
    own = ("supervise", "selection")
    assert without(last, *own) == without(theirs["rounds"][-1], *own)


@pytest.mark.parametrize("name", ["ceiling", "voc-animals-ceiling"])
def test_a_ceiling_differs_in_its_supervision_alone(name):
    assert_ceiling(name)


def test_shuffled_tags_are_those_of_the_default_runs_first_round():
    ours, default = settings(ROOT / "recipes/shuffled-tags.yaml"), settings(CONFIG)
    assert ours["convert"]["shuffle_tags"] and not default["convert"]["shuffle_tags"]
    ours["convert"]["shuffle_tags"] = False
    assert without(ours, "rounds", "pathvars") == without(default, "rounds", "pathvars")
    assert ours["rounds"] == default["rounds"][:1]


OVER_ANIMALS = [path for path in RECIPES if OVERLAYS.get(path.stem) == ANIMALS]
SHARED = ("convert", "classifier", "cam")


@pytest.mark.parametrize("path", OVER_ANIMALS, ids=lambda path: path.stem)
def test_what_the_photos_recipes_share_is_the_same(path):
    """Also saliency, inference and evaluation, so that they do not decide the comparison."""
    ours, base = settings(path), settings(ANIMALS)
    same = ("predict", "crf", "evaluate", "audit", *SHARED)
    same += ("saliency",) if path.stem != "voc-animals-u2net" else ()
    assert {key: ours[key] for key in same} == {key: base[key] for key in same}
    for number, item in enumerate(ours["rounds"]):
        inference = {**item["predict"], "size": None}
        assert (inference, item["crf"]) == (base["predict"], base["crf"]), number
        # Labels and logits lie where the inference puts them; else the masks are displaced.
        assert item["label_sampling"] == item["predict"]["map_resampling"], number
    assert ours["pathvars"]["shared"] == "results/voc-animals"


@pytest.mark.parametrize("path", OVER_ANIMALS, ids=lambda path: path.stem)
def test_every_round_on_the_photos_has_the_same_network_and_budget(path):
    base = settings(ANIMALS)["rounds"][0]
    same = ("network", "iterations", "batch", "learning_rate", "multipliers")
    same += ("optimizer", "schedule", "options", "new_head")
    for number, item in enumerate(settings(path)["rounds"]):
        assert {key: item[key] for key in same} == {key: base[key] for key in same}, number
        assert item["weights"] in (("classifier", "previous") if number else ("classifier",))


@pytest.mark.parametrize("path", OVER_ANIMALS, ids=lambda path: path.stem)
def test_a_photos_recipe_may_lie_over_learned_saliency(path):
    learned = ROOT / "recipes/voc-animals-u2net.yaml"
    plain, ours = settings(path), settings(path, learned)
    if path == learned:
        return
    assert ours["saliency"]["model"] == settings(learned)["saliency"]["model"]
    used = {item["supervise"] for item in ours["rounds"]}
    unused = () if "pseudo_labels" in used else ("pseudo_labels",)
    own = ("saliency", "pathvars", *unused)
    assert without(ours, *own) == without(plain, *own)
    assert ours["pathvars"] == {
        "results": path.stem.replace("voc-animals", "results/voc-animals-u2net"),
        "shared": "results/voc-animals",
        "saliency": "results/voc-animals-u2net",
    }


# What makes a system, by key; "rounds.1.loss_stride" is a key of its second round.
PUBLISHED = {
    "voc-animals": {
        "pseudo_labels.attention": "random_walk",
        "rounds.1.selection.witness_foreground_saliency": 1,  # none: PSA's labels alone confirm
        "rounds.1.selection.witness_background_saliency": 0,
        "rounds.2.selection.foreground_confidence": 0.85,
        "rounds.2.selection.background_confidence": 0.95,
    },
    "voc-animals-dsrg": {
        "seeds.foreground_fraction": 0.2,
        "seeds.background_threshold": 0.06,
        "seeds.foreground_saliency": 0,
        "seeds.conflict": "fg_over_bg",
        "rounds.0.dsrg.grow_on": "crf",
        "rounds.0.dsrg.foreground_threshold": 0.85,
        "rounds.0.dsrg.background_threshold": 0.99,
        "rounds.0.dsrg.crf.bilateral_sxy": 10.4,  # 80 / 12 · 64 / 41
        "rounds.0.dsrg.crf.gaussian_weight": 1,  # 3 · 7 / 21
        "rounds.0.dsrg.crf.bilateral_weight": 3.33,  # 10 · 7 / 21
        "rounds.0.view.kind": "warp",
        "rounds.0.view.jitter": 0,
        "rounds.1.supervise": "predictions",
        "rounds.1.weights": "previous",
        "rounds.1.loss_stride": 8,
    },
    "voc-animals-dsrg-tf": {
        "rounds.0.dsrg.grow_on": "softmax",
        "rounds.0.dsrg.crf.iterations": 5,
        "rounds.0.dsrg.crf.bilateral_sxy": 10.4,  # 80 / 12 · 64 / 41
        "rounds.0.dsrg.constraint_clip": None,
        "rounds.0.view.resampling": "tf_legacy",
    },
    "voc-animals-group-wsss": {
        "group.options": {"graph_dropout_in_eval": True},
        "group.partner_draws": 1000,
        "group.view.flip": False,
        "group.view.jitter": 0.3,
        "group_cam.source": "accumulated",
        "group_cam.power": 1,
        "pseudo_labels.attention": "group",
        "pseudo_labels.saliency_threshold": 32,
        "rounds.0.loss_stride": 8,
    },
    "voc-animals-spsm": {
        "rounds.0.selection.threshold": 0.55,
        "rounds.2.selection.foreground_confidence": 0.85,
        "rounds.2.selection.crf.bilateral_sxy": 40,
    },
    "voc-animals-psa": {
        "affinity.network": "mobilenet_v2_affinity",
        "affinity_scores.low_alpha": 4,
        "affinity_scores.high_alpha": 32,
        "random_walk.alpha": 16,
        "random_walk.beta": 8,
        "pseudo_labels.rule": "argmax",
        "affinity.view.padding": "black",
    },
    "dsrg-vgg16": {
        "classifier.network": "vgg16_cam",
        "cam.resampling": "corner_aligned",
        "cam.map_resampling": "corner_aligned",
        "rounds.0.dsrg.grow_on": "crf",
        "rounds.0.dsrg.train_unary": "prob",
        "rounds.0.dsrg.foreground_threshold": 0.85,
        "rounds.0.dsrg.crf.gaussian_sxy": 3 / 12,
        "rounds.0.dsrg.crf.bilateral_sxy": 80 / 12,
        "rounds.0.schedule": {"kind": "step", "every": 1000, "factor": 0.33},
        "rounds.1.schedule": {"kind": "poly", "power": 0.9},
        "rounds.1.weights": "previous",
        "rounds.1.view.placement": "top_left",
        "predict.fuse": "sum",
        "crf.restrict_to_tags": False,
    },
    "dsrg-resnet101": {
        "cam.resampling": "corner_aligned",
        "rounds.0.dsrg.crf.bilateral_sxy": 80 / 12,
    },
    "dsrg-tf": {
        "cam.resampling": "corner_aligned",
        "rounds.0.dsrg.grow_on": "softmax",
        "rounds.0.dsrg.crf.iterations": 5,
        "rounds.0.dsrg.crf.gaussian_sxy": 3 / 12,
        "rounds.0.dsrg.crf.bilateral_sxy": 80 / 12,
        "rounds.0.accumulation": 16,
        "rounds.0.schedule": {"kind": "multi_step", "milestones": [1322, 2645], "factor": 0.1},
        "predict.fuse": "max_with_zero",
    },
    "group-wsss": {
        "group.optimizer.nesterov": True,
        "group.optimizer.decay_biases": True,
        "group.view.resampling": "antialias",
        "group.partner_draws": 1000,
        "group.schedule": {"kind": "step", "every": 52910, "factor": 0.1},
        "pseudo_labels.saliency_threshold": 32,
        "predict.fuse_on": "grid",
        "classifier": None,
    },
    "spsm-resnet101": {
        "cam.resampling": "corner_aligned",
        "rounds.2.selection.threshold": 0.8,
        "rounds.0.new_head": True,
        "rounds.0.options.norm_epsilon": 0.001,
        "predict.fuse_on": "grid",
    },
    "psa-resnet38": {
        "affinity.optimizer.momentum": 0.0005,
        "affinity.view.padding": "black",
        "affinity.schedule": {"kind": "poly", "power": 0.9},
        "random_walk.alpha": 16,
        "pseudo_labels.crf.bilateral_sxy": 80,
        "crf.bilateral_sxy": 83,
        "group": None,
    },
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_system_has_its_published_values(name):
    content = settings(ROOT / f"recipes/{name}.yaml")
    for key, expected in PUBLISHED[name].items():
        value = content
        for part in key.split("."):
            value = value[int(part)] if part.isdigit() else value[part]
        assert value == expected, key


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_recipe_leaves_out_the_trainings_that_it_does_not_use(name):
    content = settings(ROOT / f"recipes/{name}.yaml")
    uses = (
        content["pseudo_labels"]["attention"]
        if content["rounds"][0]["supervise"] == ("pseudo_labels")
        else None
    )
    assert (content["group"] is None) == (uses != "group")
    assert (content["affinity"] is None) == (uses != "random_walk")
    assert (content["classifier"] is None) == (uses == "group")
