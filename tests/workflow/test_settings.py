import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from seedbed.runtime.errors import UserError
from stages.command import parse_settings
from stages.settings import (
    DEFAULT_KINDS,
    AffinitySettings,
    DSRGSettings,
    GroupSettings,
    RoundSettings,
    SelectionSettings,
    TrainingSettings,
    combine,
    parse_config,
)
from stages.settings.layers import folders_of, lay_over
from stages.settings.yaml_file import read_yaml, refuse_repeated_keys

SEEDS = {"supervise": "seeds", "method": "dsrg"}
RETRAIN = {"supervise": "predictions"}
BRIEF = {
    "network": "tiny_seg",
    "iterations": 1,
    "batch": 4,
    "crop": 64,
    "learning_rate": 0.1,
}
CLASSIFIER = {**BRIEF, "network": "tiny_cls"}
GROUP = {**BRIEF, "network": "tiny_group"}


def parse(training=None, **blocks):
    return parse_config({"training": {**BRIEF, **(training or {})}, "rounds": [SEEDS], **blocks})


def refused(*arguments, **blocks):
    with pytest.raises(UserError) as error:
        parse(*arguments, **blocks)
    line = str(error.value)
    assert "\n" not in line and len(line) < 400 and line.startswith("config: ")
    return line.removeprefix("config: ")


def test_rounds_inherit_training():
    training = {"crop": 77, "learning_rate": 0.25, "view": {"flip": False, "jitter": 0.1}}
    own = {**RETRAIN, "crop": 99, "view": {"jitter": 0.2}}
    first, second = parse(training, rounds=[SEEDS, own]).rounds
    assert (first.crop, first.learning_rate) == (77, 0.25)
    assert (second.crop, second.learning_rate) == (99, 0.25)
    assert (first.view.flip, first.view.jitter) == (False, 0.1)
    assert (second.view.flip, second.view.jitter) == (False, 0.2)
    assert (first.method, second.method) == ("dsrg", "cross_entropy")
    assert first.batch == BRIEF["batch"] and first.seed == 0


def test_a_round_of_another_kind_drops_the_keys_of_the_kind_that_it_inherits():
    training = {"schedule": {"kind": "step", "every": 3}, "optimizer": {"momentum": 0.5}}
    own = {**RETRAIN, "schedule": {"kind": "poly"}, "optimizer": {"kind": "sgd", "nesterov": True}}
    first, second = parse(training, rounds=[SEEDS, own]).rounds
    assert (first.schedule.kind, first.schedule.every) == ("step", 3)
    assert second.schedule.model_dump() == {"kind": "poly", "power": 0.9}
    assert (second.optimizer.momentum, second.optimizer.nesterov) == (0.5, True)


def test_rounds_inherit_prediction_and_its_crf():
    own = {**RETRAIN, "predict": {"flip": False}, "crf": {"iterations": 1}}
    shared = {"predict": {"fuse": "sum"}, "crf": {"bilateral_srgb": 5}}
    settings = parse(rounds=[SEEDS, own], **shared)
    first, second = settings.rounds
    assert (first.predict, first.crf) == (settings.predict, settings.crf)
    assert (second.predict.fuse, second.predict.flip) == ("sum", False)
    assert (second.crf.bilateral_srgb, second.crf.iterations) == (5, 1)


def test_a_round_may_give_what_the_shared_training_leaves_out():
    (only,) = parse_config({"rounds": [{**SEEDS, **BRIEF}]}).rounds
    assert only.network == "tiny_seg"
    with pytest.raises(UserError, match=r"rounds\.0\.network: has no default .*, here"):
        parse_config({"rounds": [SEEDS]})


def test_text_of_the_command_line_is_understood():
    text = {
        "training": {"batch": "8", "view": {"flip": "false", "scale": ["0.5", "2"]}},
        "classifier": {"options": {"output_stride": "8"}, "weights": "null"},
        "convert": {"sbd": "null"},
    }
    file = {
        "training": {**BRIEF, "weights": "classifier"},
        "classifier": {**CLASSIFIER, "weights": "a.pth"},
        "rounds": [SEEDS, {**RETRAIN, "options": {"dropout": "0.25"}}],
    }
    settings = parse_config(combine([(Path("a.yaml"), file)], text, DEFAULT_KINDS, Path()))
    first, second = settings.rounds
    assert (first.batch, first.view.flip, first.view.scale) == (8, False, (0.5, 2.0))
    assert second.options == {"dropout": 0.25}
    assert settings.classifier.options == {"output_stride": 8}
    assert settings.classifier.weights is None and settings.convert.sbd is None
    assert "training.batch: Input should be a valid integer" in refused({"batch": "many"})


def test_there_is_a_round():
    assert refused(rounds=[]).startswith("rounds: ")
    with pytest.raises(UserError, match="rounds: has no default and must be given"):
        parse_config({})


@pytest.mark.parametrize(
    ("blocks", "place"),
    [
        ({"cams": {}}, "cams"),
        ({"cam": {"scale": [1]}}, "cam.scale"),
        ({"classifier": {**CLASSIFIER, "pooling": {"top": 1}}}, "classifier.pooling.top"),
        ({"training": {**BRIEF, "lr": 1}}, "training.lr"),
        ({"predict": {"scale": [1]}}, "predict.scale"),
        ({"rounds": [{**SEEDS, "predict": {"scale": [1]}}]}, "rounds.0.predict.scale"),
        ({"rounds": [{**SEEDS, "dsrg": {"crf": {"sxy": 1}}}]}, "rounds.0.dsrg.crf.sxy"),
    ],
)
def test_unknown_keys_are_refused_by_name(blocks, place):
    with pytest.raises(UserError) as error:
        parse_config({"training": BRIEF, "rounds": [SEEDS], **blocks})
    assert str(error.value).count("unknown key") == 1
    assert str(error.value).startswith(f"config: {place}: unknown key")


def test_a_folder_is_the_same_however_it_is_written():
    base, above = {"pathvars": {"results": "./out//"}}, {"pathvars": {"results": "{results}-b/"}}
    config = combine([(Path("a"), base), (Path("b"), above)], {}, DEFAULT_KINDS, Path())
    assert parse(**config).pathvars.folders() == {
        "results": "out-b",
        "shared": "out-b",
        "saliency": "out-b",
    }


@pytest.mark.parametrize(
    ("view", "place"),
    [
        ({"zoom": 1}, "kind warp has no such key"),
        ({"long_side": [1, 2]}, "kind warp has no such key"),
        ({"kind": "crop", "resampling": "antialias"}, "kind crop has no such key"),
    ],
)
def test_keys_of_another_kind_are_refused_by_name(view, place):
    key = list(view)[-1]
    assert refused({"view": view}).startswith(f"training.view.{key}: {place}")
    assert refused(group={**GROUP, "view": view}).startswith(f"group.view.{key}: {place}")
    line = refused(rounds=[{**SEEDS, "view": view}])
    assert line.startswith(f"rounds.0.view.{key}: {place}")


@pytest.mark.parametrize(
    ("block", "key", "value"),
    [
        ("selection", "threshold", 1.2),
        ("selection", "threshold", -0.1),
        ("dsrg", "foreground_threshold", 1.01),
        ("dsrg", "constraint_clip", [0, 20]),
        ("schedule", "factor", 2),
    ],
)
def test_bounds_within_a_round(block, key, value):
    kind = {"kind": "step", "every": 1} if block == "schedule" else {}
    line = refused(rounds=[{**SEEDS, block: {**kind, key: value}}])
    assert line.startswith(f"rounds.0.{block}.{key}")


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
        ("training", "view.scale", [2, 1]),
        ("training", "view.rotate", 181),
        ("training", "optimizer.weight_decay", float("nan")),
        ("training", "seed", -1),
        ("training", "learning_rate", float("inf")),
        ("convert", "label_source", "masks"),
        ("run", "device", "tpu"),
    ],
)
def test_bounds(block, key, value):
    name, _, inner = key.partition(".")
    changed = {name: {inner: value} if inner else value}
    base = {"training": BRIEF, "group": GROUP}.get(block, {})
    with pytest.raises(UserError) as error:
        parse_config({"training": BRIEF, "rounds": [SEEDS], block: {**base, **changed}})
    assert str(error.value).startswith(f"config: {block}.{key}")


def test_an_error_in_a_shared_block_is_told_once():
    assert refused({"batch": "x"}, rounds=[SEEDS, RETRAIN]).count("got 'x'") == 1
    assert refused(predict={"fuse": "x"}, rounds=[SEEDS, RETRAIN]).count("got 'x'") == 1


def test_nesterov_needs_momentum():
    optimizer = {"nesterov": True, "momentum": 0}
    assert refused({"optimizer": optimizer}).startswith("training.optimizer.nesterov: needs")
    assert parse({"optimizer": {"nesterov": True}}).rounds[0].optimizer.nesterov


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
    assert refused(rounds=[wrong]).startswith("rounds.0.method: dsrg and supervise: seeds need")


def test_the_first_round_has_no_predictions_to_learn_from():
    assert "needs a round before it" in refused(rounds=[RETRAIN])
    assert len(parse(rounds=[SEEDS, RETRAIN, RETRAIN]).rounds) == 3
    for supervise in ("pseudo_labels", "selected", "ground_truth"):
        assert parse(rounds=[{"supervise": supervise}]).rounds[0].supervise == supervise


def test_targets_depend_on_supervision_and_selection_alone():
    selection = {"threshold": 0.7}
    one, other = (
        RoundSettings(
            **{**BRIEF, "crop": crop}, supervise="selected", selection=selection
        ).targets()
        for crop in (64, 128)
    )
    assert one == other and one.selection == SelectionSettings(threshold=0.7)


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        parse().cam.flip = False


def test_settings_import_no_torch():
    check = "import sys, stages.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.parametrize(
    ("block", "values", "message"),
    [
        (
            "classifier",
            {"network": "tiny_seg"},
            "classifier.network: tiny_seg is not one of tiny_cls",
        ),
        (
            "affinity",
            {"network": "vgg16_cls"},
            "affinity.network: vgg16_cls is not one of mobilenet_v2_aff",
        ),
        ("group", {"network": "tiny_cls"}, "group.network: tiny_cls is not one of tiny_group"),
        (
            "training",
            {"network": "vgg16_cam"},
            "training.network: vgg16_cam is not one of tiny_seg",
        ),
        (
            "training",
            {"view": {"kind": "crop", "long_side": (4, 3)}},
            "training.view.long_side: the lower bound must come first",
        ),
        ("training", {"batch": 10, "accumulation": 4}, "training.accumulation: must divide"),
        ("convert", {"label_source": "cues"}, "convert.label_source: cues needs seeds.cues"),
        (
            "group",
            {"network": "tiny_group", "weights": "previous"},
            "group.weights: previous needs",
        ),
        ("affinity_scores", {"low": "folder"}, "affinity_scores.low: give both low and high"),
        ("training", {"weights": "classifier"}, "rounds.0.weights: there is no block classifier"),
    ],
)
def test_values_that_do_not_go_together(block, values, message):
    base = BRIEF if block in ("classifier", "affinity", "group", "training") else {}
    config = {"training": BRIEF, "rounds": [{"supervise": "pseudo_labels"}]}
    with pytest.raises(UserError) as error:
        parse_config({**config, block: {**base, **values}})
    assert str(error.value).startswith(f"config: {message}")


def test_a_block_that_no_job_needs_may_be_absent_or_present():
    assert parse().group is None and parse(group=None).group is None
    present = parse(group=GROUP)
    assert present.block("group", "the rule group") == present.group
    with pytest.raises(UserError, match=r"^group: the rule group needs this block; add it to .*$"):
        parse().block("group", "the rule group")
    assert parse().block("cam", "the rule cam") == parse().cam


def test_a_stage_reads_its_own_block_as_json():
    settings = parse(group=GROUP)
    assert parse_settings(GroupSettings, settings.group.model_dump_json()) == settings.group
    (item,) = settings.rounds
    assert parse_settings(RoundSettings, item.model_dump_json()) == item
    with pytest.raises(
        UserError, match=r"^--params: view\.kind: 'squash' is not one of 'warp', 'crop'$"
    ):
        parse_settings(TrainingSettings, json.dumps({**BRIEF, "view": {"kind": "squash"}}))


def test_defaults_are_those_of_the_papers():
    group = GroupSettings(**GROUP, view={"jitter": 0.2})
    assert group.view.model_dump() == {
        **{"kind": "warp", "scale": (1, 1), "rotate": 0, "flip": False, "jitter": 0.2, "hue": 0.1},
        **{"padding": "network_mean", "resampling": "antialias"},
    }
    assert (group.optimizer.nesterov, group.optimizer.decay_biases) == (True, True)
    affinity = AffinitySettings(**{**BRIEF, "network": "vgg16_affinity", "crop": 80})
    assert (affinity.view.kind, affinity.schedule.kind) == ("crop", "poly")
    grid = DSRGSettings(crf={"iterations": 3}).crf
    assert (grid.gaussian_sxy, grid.bilateral_sxy) == (3 / 12, 80 / 12)
    plain = TrainingSettings(**BRIEF)
    assert plain.optimizer.model_dump() == {
        **{"kind": "sgd", "momentum": 0.9, "nesterov": False},
        **{"weight_decay": 5e-4, "decay_biases": False},
    }
    assert plain.view.flip and plain.view.jitter == 0 and plain.schedule.kind == "constant"
    with pytest.raises(ValidationError, match="5 validation errors"):
        TrainingSettings()


STEP = {"kind": "step", "every": 5, "factor": 0.5}


@pytest.mark.parametrize(
    ("below", "above", "expected"),
    [
        ({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 4}}, {"a": 1, "b": {"c": 2, "d": 4}}),
        ({"scales": [1, 2]}, {"scales": [3]}, {"scales": [3]}),
        ({"cam": {"size": 3}}, {"cam": None}, {"cam": None}),
        ({"schedule": STEP}, {"schedule": {"every": 9}}, {"schedule": {**STEP, "every": 9}}),
        ({"schedule": STEP}, {"schedule": {"kind": "poly"}}, {"schedule": {"kind": "poly"}}),
        (
            {"schedule": STEP},
            {"schedule": {"kind": "step", "every": 9}},
            {"schedule": {**STEP, "every": 9}},
        ),
        (
            {"network": "tiny_seg", "options": {"skip": True}},
            {"network": "vgg16_aspp"},
            {"network": "vgg16_aspp"},
        ),
        (
            {"options": {"width": 8}},
            {"network": "tiny_seg"},
            {"network": "tiny_seg", "options": {"width": 8}},
        ),
        (
            {"network": "tiny_seg", "options": {"skip": True}},
            {"options": {"width": 8}},
            {"network": "tiny_seg", "options": {"skip": True, "width": 8}},
        ),
    ],
)
def test_one_config_over_another(below, above, expected):
    before = json.dumps(below)
    assert lay_over(below, above) == expected
    assert json.dumps(below) == before


def test_a_kind_that_is_not_written_is_the_default_one():
    below, above = (
        {"optimizer": {"nesterov": True}},
        {"optimizer": {"kind": "sgd", "momentum": 0.8}},
    )
    other = {"optimizer": {"kind": "adamw"}}
    kinds = {"optimizer": {"kind": "sgd"}}
    merged = {"kind": "sgd", "momentum": 0.8, "nesterov": True}
    assert lay_over(below, above, kinds) == {"optimizer": merged}
    assert lay_over(below, other, kinds) == other
    assert DEFAULT_KINDS["affinity"]["schedule"] == {"kind": "poly"}
    assert DEFAULT_KINDS["training"]["schedule"] == {"kind": "constant"}


MAPS = {"results": "{results}-maps", "shared": "{shared}", "saliency": "{results}-maps"}
SYSTEM = {"results": "{results}-system", "shared": "{shared}"}


def files(*contents):
    return [(Path(f"/project/{name}"), content) for name, content in contents]


def test_config_files_lie_over_one_another_and_the_command_line_over_all():
    given = files(("a.yaml", {"x": {"p": 1, "q": 1}}), ("b.yaml", {"x": {"q": 2}, "y": [1]}))
    config = combine(given, {"x": {"p": "null"}, "y": ["null", "2"]}, {}, Path("/project"))
    assert config == {"x": {"p": None, "q": 2}, "y": [None, "2"]}


@pytest.mark.parametrize(
    ("above", "results", "shared", "saliency"),
    [
        ((), "r", "r", "r"),
        (({"results": "{results}-a"},), "r-a", "r-a", "r-a"),
        (({"results": "{results}-a", "shared": "{shared}"},), "r-a", "r", "r"),
        ((MAPS, SYSTEM), "r-maps-system", "r", "r-maps"),
        ((SYSTEM, MAPS), "r-system-maps", "r", "r-system-maps"),
        ((SYSTEM, {"results": "elsewhere"}), "elsewhere", "r", "r"),
        (({"shared": "{results}/{shared}"},), "r", "r/r", "r/r"),
    ],
)
def test_an_overlay_names_folders_after_those_below_it(above, results, shared, saliency):
    contents = [{"pathvars": {"results": "r"}}, *({"pathvars": pathvars} for pathvars in above)]
    named = [(Path(f"{number}.yaml"), content) for number, content in enumerate(contents)]
    expected = {"results": results, "shared": shared, "saliency": saliency}
    assert folders_of(combine(named, {}, {}, Path())["pathvars"]) == expected
    *files, (_, last) = named
    assert folders_of(combine(files, last, {}, Path())["pathvars"]) == expected


def test_an_overlay_needs_its_config_before_it():
    base, overlay = ("config.yaml", {"x": 1}), ("recipes/o.yaml", {"overlay_of": "config.yaml"})
    assert combine(files(base, overlay), {}, {}, Path("/project")) == {"x": 1}
    line = (
        r"^recipes/o.yaml is an overlay of config.yaml and cannot be used without it: "
        r"snakemake --configfile config.yaml recipes/o.yaml$"
    )
    for given in (files(overlay), files(overlay, base), files(("other.yaml", {}), overlay)):
        with pytest.raises(UserError, match=line):
            combine(given, {}, {}, Path("/project"))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: 2\na: 3\n", "the key a is given twice, in lines 1 and 3; join the two, or"),
        ("a: {b: 1, b: 1}\n", "the key b is given twice, in lines 1 and 1; "),
        ("a:\n- c: 1\n  'c': 2\n", "the key c is given twice, in lines 2 and 3; "),
        ("{3: a, 4: b, 3: c}", "the key 3 is given twice, in lines 1 and 1; "),
        ('{"a": {"b": 1},\n "a": {"c": 2}}', "the key a is given twice, in lines 1 and 2; "),
    ],
)
def test_a_key_that_a_file_gives_twice_is_refused(tmp_path, text, line):
    path = tmp_path / "a.yaml"
    path.write_text(text)
    for read in (read_yaml, refuse_repeated_keys):
        with pytest.raises(UserError) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: {line}")


def test_keys_that_are_merged_may_be_given_again(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text(
        "top: {<<: &late {<<: &base {x: 1, y: 1}, x: 2}, y: 3}\n"
        "both: {<<: [*late, *base], z: 4}\nagain: {<<: *late, <<: *base, x: 5}\n1: a\n'1': b\n"
    )
    assert read_yaml(path) == {
        "top": {"x": 2, "y": 3},
        "both": {"x": 2, "y": 1, "z": 4},
        "again": {"x": 5, "y": 1},
        1: "a",
        "1": "b",
    }
    refuse_repeated_keys(path)


def test_json_with_tabs_is_left_to_what_has_read_it(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{\n\t"a": 1}')
    refuse_repeated_keys(path)
    with pytest.raises(UserError, match=r"cannot read \S+a\.json: [^\n]+$"):
        read_yaml(path)
