import json
import subprocess
import sys

import pytest
from pydantic import ValidationError
from stages.config import Settings

from seedbed.runtime.errors import UserError
from stages.command import parse_settings
from stages.settings import RoundSettings, SelectionSettings, TrainingSettings

SEEDS = {"supervise": "seeds", "method": "dsrg"}
RETRAIN = {"supervise": "predictions"}


def parse(**blocks):
    return parse_settings(Settings, json.dumps({"rounds": [SEEDS], **blocks}))


def refused(**blocks):
    with pytest.raises(UserError) as error:
        parse(**blocks)
    assert "\n" not in str(error.value) and len(str(error.value)) < 250
    return str(error.value)


def test_rounds_inherit_training():
    training = {"crop": 77, "learning_rate": 0.25, "flip": False}
    first, second = parse(training=training, rounds=[SEEDS, {**RETRAIN, "crop": 99}]).rounds
    assert (first.crop, first.learning_rate, first.flip) == (77, 0.25, False)
    assert (second.crop, second.learning_rate, second.flip) == (99, 0.25, False)
    assert (first.method, second.method) == ("dsrg", "cross_entropy")
    assert first.batch == TrainingSettings().batch


def test_rounds_inherit_prediction_and_its_crf():
    own = {**RETRAIN, "predict": {"flip": False}, "crf": {"iterations": 1}}
    shared = {"predict": {"fuse": "sum"}, "crf": {"bilateral_srgb": 5}}
    settings = parse(rounds=[SEEDS, own], **shared)
    first, second = settings.rounds
    assert (first.predict, first.crf) == (settings.predict, settings.crf)
    assert (second.predict.fuse, second.predict.flip) == ("sum", False)
    assert (second.crf.bilateral_srgb, second.crf.iterations) == (5, 1)


def test_text_of_the_command_line_is_understood():
    training = {"weights": "null", "batch": "4", "flip": "false", "scale": ["0.5", "2"]}
    own = {**SEEDS, "weights": "classifier"}
    settings = parse(training=training, rounds=[own, {**RETRAIN, "options": {"dropout": "0.25"}}])
    assert [item.weights for item in settings.rounds] == ["classifier", None]
    first, second = settings.rounds
    assert (first.batch, first.flip, first.scale) == (4, False, (0.5, 2.0))
    assert second.options == {"dropout": 0.25}
    assert "should be a valid integer" in refused(training={"batch": "null"})


def test_rounds_without_training_have_its_defaults():
    assert parse().rounds[0].iterations == TrainingSettings().iterations


def test_there_is_a_round():
    assert "rounds" in refused(rounds=[])
    with pytest.raises(UserError, match="rounds: Field required"):
        parse_settings(Settings, "{}")


@pytest.mark.parametrize(
    ("blocks", "place"),
    [
        ({"cams": {}}, "cams"),
        ({"cam": {"scale": [1]}}, "cam.scale"),
        ({"classifier": {"pooling": {"top": 1}}}, "classifier.pooling.top"),
        ({"training": {"lr": 1}}, "training.lr"),
        ({"predict": {"scale": [1]}}, "predict.scale"),
        ({"rounds": [{**SEEDS, "predict": {"scale": [1]}}]}, "rounds.0.predict.scale"),
        ({"rounds": [{**SEEDS, "dsrg": {"crf": {"sxy": 1}}}]}, "rounds.0.dsrg.crf.sxy"),
    ],
)
def test_unknown_keys_are_refused_by_name(blocks, place):
    assert f"{place}: unknown key" in refused(**blocks)


@pytest.mark.parametrize(
    ("block", "key", "value"),
    [
        ("selection", "threshold", 1.2),
        ("selection", "threshold", -0.1),
        ("dsrg", "foreground_threshold", 1.01),
        ("dsrg", "constraint_clip", [0, 20]),
    ],
)
def test_bounds_within_a_round(block, key, value):
    line = refused(rounds=[{**SEEDS, block: {key: value}}])
    assert line.startswith(f"--params: rounds.0.{block}.{key}")


@pytest.mark.parametrize(
    ("block", "key", "value"),
    [
        ("seeds", "grid", 0),
        ("cam", "scales", []),
        ("cam", "scales", [1, -1]),
        ("group", "group_size", 1),
        ("pseudo_labels", "saliency_threshold", 257),
        ("crf", "bilateral_srgb", 0),
        ("predict", "fuse", "median"),
        ("training", "scale", [2, 1]),
        ("training", "rotate", 181),
        ("training", "seed", -1),
        ("training", "learning_rate", float("inf")),
        ("training", "weight_decay", float("nan")),
        ("convert", "label_source", "masks"),
        ("run", "device", "tpu"),
    ],
)
def test_bounds(block, key, value):
    assert f"--params: {block}" in (line := refused(**{block: {key: value}})) and key in line


def test_nesterov_needs_momentum():
    assert "nesterov" in refused(training={"nesterov": True, "momentum": 0})
    assert parse(training={"nesterov": True}).training.nesterov


def test_the_threshold_is_named_with_its_value():
    line = refused(rounds=[{"supervise": "selected", "selection": {"threshold": 1.2}}])
    assert "rounds.0.selection.threshold" in line and "1.2" in line and "equal to 1" in line


@pytest.mark.parametrize(
    "wrong",
    [
        {"supervise": "seeds"},
        {"supervise": "seeds", "method": "cross_entropy"},
        {"supervise": "pseudo_labels", "method": "dsrg"},
    ],
)
def test_seeds_and_dsrg_go_together(wrong):
    assert "rounds.0: " in (line := refused(rounds=[wrong]))
    assert "seeds goes with method: dsrg" in line


def test_the_first_round_has_no_predictions_to_learn_from():
    assert "needs a round before it" in refused(rounds=[RETRAIN])
    assert len(parse(rounds=[SEEDS, RETRAIN, RETRAIN]).rounds) == 3
    for supervise in ("pseudo_labels", "selected", "ground_truth"):
        assert parse(rounds=[{"supervise": supervise}]).rounds[0].supervise == supervise


def test_targets_depend_on_supervision_and_selection_alone():
    selection = {"threshold": 0.7}
    one, other = (
        RoundSettings(supervise="selected", selection=selection, crop=crop).targets()
        for crop in (64, 128)
    )
    assert one == other and one.selection == SelectionSettings(threshold=0.7)


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        parse().cam.flip = False


def test_settings_import_no_torch():
    check = "import sys, stages.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.parametrize(
    ("block", "values", "message"),
    [
        ("classifier", {"network": "tiny_seg"}, "classifier.*tiny_seg must end in one of _cls"),
        ("affinity", {"network": "vgg16_cls"}, "affinity.*must end in one of _affinity"),
        ("group", {"network": "tiny_cls"}, "group.*must end in one of _group"),
        ("training", {"network": "vgg16_cam"}, "must end in one of _seg, _aspp"),
        ("training", {"geometry": "crop", "resampling": "antialias"}, "goes with geometry: warp"),
        ("training", {"geometry": "warp", "long_side": (3, 4)}, "goes with geometry: crop"),
        ("training", {"geometry": "crop", "long_side": (4, 3)}, "the lower bound comes first"),
        ("training", {"batch": 10, "accumulation": 4}, "must divide the batch"),
        ("convert", {"label_source": "cues"}, "cues needs seeds.cues"),
        ("group", {"weights": "previous"}, "group.weights: previous needs a round"),
        ("pseudo_labels", {"attention": "random_walk"}, "after a random walk it is argmax"),
        ("affinity_scores", {"low": "folder"}, "give both folders or none"),
    ],
)
def test_values_that_do_not_go_together(block, values, message):
    rounds = [{"supervise": "pseudo_labels"}]
    with pytest.raises(ValidationError, match=f"(?s){message}"):
        Settings.model_validate({"rounds": rounds, block: values})
