"""Which jobs are planned on a finished run, after each kind of change, and what errors say."""

import contextlib
import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from seedbed.data.mini.animals import CLASSES
from stages.settings import Settings
from tests.support.workflow_helpers import (
    AFFINITY,
    CONFIG,
    RANDOM_WALK,
    ROOT,
    _jobs_in,
    copy_project,
    finished_run,
    planned,
    planned_anew,
    snakemake,
)

VOC = "data/mini-0/VOCdevkit/VOC2012"
# What each job of the small run reads, drawn by hand (what reads the index hangs on `convert`).
READS = {
    "mini_dataset-0": "",
    "convert": "mini_dataset-0",
    "classifier": "convert",
    "cam": "classifier",
    "saliency": "convert",
    "seeds": "cam saliency",
    "group": "convert",
    "group_cam": "group",
    "pseudo_labels": "group_cam saliency",
    "train-0": "seeds",
    "predict-0-train": "train-0",
    "predict-0-val": "train-0",
    "crf-0-train": "predict-0-train",
    "crf-0-val": "predict-0-val",
    "targets-1": "pseudo_labels saliency predict-0-train crf-0-train",
    "train-1": "targets-1",
    "predict-1-train": "train-1",
    "predict-1-val": "train-1",
    "crf-1-train": "predict-1-train",
    "crf-1-val": "predict-1-val",
    "masks": "crf-1-val",
    "evaluate": "masks",
    "audit": "cam saliency seeds pseudo_labels targets-1 "
    "crf-0-train crf-0-val crf-1-train crf-1-val",
    "jobs": "",
    "report": "audit evaluate jobs",
}
SHOWN = {"jobs", "report"}  # the page shows the settings
TRAININGS = "classifier group train"
CRF = "pseudo_labels train targets crf audit"
# Of every room a file, by what it defines, and the first rules whose jobs an edit remakes.
ROOMS = {
    "report": ("def render(", "report"),
    "training": ("class Samples", TRAININGS),
    "inference": ("def multi_scale(", "cam predict"),
    "evaluation": ("class ConfusionMatrix", "evaluate audit"),
    "models": ("def build(", TRAININGS),
    "data": ("class Index", "convert"),
    "methods": ("def grow_seeds(", "train"),
    "crf": ("def dense_crf(", CRF),
    "formats": ("def write_maps(", "convert"),
}
METHODS = {
    "def make_cues(": "seeds",
    "def saliency_guided(": "pseudo_labels audit",
    "def saliency(": "saliency",
}
STAGES = {
    "audit": "audit",
    "masks": "masks",
    "random_walk": "",  # this run has none
    "report": "report",
    "targets": "targets",
    "train_group": "group",
    "train_round": "train",
    "training_run": TRAININGS,
}
SETTINGS = {
    "mini_dataset": ({"size": 96}, "mini_dataset"),
    "convert": ({"seed": 1}, "convert"),
    "classifier": ({"learning_rate": 0.1}, "classifier"),
    "cam": ({"flip": False}, "cam"),
    "saliency": ({"superpixels": 60}, "saliency"),
    "seeds": ({"background_threshold": 0.1}, "seeds"),
    "group": ({"group_size": 2}, "group group_cam"),
    "group_cam": ({"power": 0.5}, "group_cam"),
    "affinity_scores": ({"low_alpha": 5}, ""),  # this run has none
    "affinity": (AFFINITY, ""),
    "random_walk": ({"steps": 8}, ""),
    "pseudo_labels": ({"conflict_threshold": 0.7}, "pseudo_labels"),
    "training": ({"view": {"jitter": 0.5}}, "train"),
    "predict": ({"flip": False}, "predict"),
    "crf": ({"iterations": 3}, "crf audit"),
    "evaluate": ({"variant": "seam"}, "evaluate"),
    "audit": ({"cam_background": 0.3}, "audit"),
    "report": ({"side": 64}, "report"),
}


def below(first: str) -> set[str]:
    """All jobs of some rules or of one round's rule, and what hangs on them."""
    wanted = first.split()
    jobs = {job for job in READS if job in wanted or job.split("-")[0] in wanted}
    for job, reads in READS.items():  # every job stands after those that it reads
        if jobs & set(reads.split()):
            jobs.add(job)
    return jobs


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return finished_run(tmp_path_factory.getbasetemp())


@pytest.fixture
def overlay(tmp_path):
    """Options that lay some settings over config.yaml."""

    def write(**blocks) -> tuple[str, ...]:
        path = tmp_path / "overlay.yaml"
        path.write_text(yaml.safe_dump(blocks))
        return "--configfile", "config.yaml", str(path)

    return write


@contextlib.contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def rounds(number: int, **changes) -> list[dict]:
    """The small run's rounds, one of them changed."""
    return [{**r, **(changes if k == number else {})} for k, r in enumerate(CONFIG["rounds"])]


def test_everything_is_planned_at_first(tmp_path):
    assert planned(copy_project(tmp_path, CONFIG)) == set(READS)


def test_the_shipped_config_plans_the_whole_chain_from_nothing(tmp_path):
    project = copy_project(tmp_path, yaml.safe_load((ROOT / "config.yaml").read_text()))
    rules = {job.split("-")[0] for job in planned(project)}
    assert {"mini_dataset", "convert", "train", "predict", "crf", "evaluate", "audit"} <= rules
    assert not (project / "results").exists() and not (project / "data").exists()


def edited(path: Path) -> contextlib.AbstractContextManager[None]:
    """A file with a statement, or in another language a comment, more."""
    more = b"\nADDED = 1\n" if path.suffix == ".py" else b"\n/* more */\n"
    return changed(path, path.read_bytes() + more)


def file_that_defines(folder: Path, text: str) -> Path:
    """The one file under a folder with a line that begins so."""
    files = [path for path in folder.rglob("*.py") if f"\n{text}" in path.read_text()]
    assert len(files) == 1, f"{text}: {files}"
    return files[0]


@pytest.mark.parametrize("room", ROOMS)
def test_an_edit_in_a_room_remakes_what_uses_the_file(project, room):
    definition, first = ROOMS[room]
    with edited(file_that_defines(project / "seedbed" / room, definition)):
        assert planned(project) == below(first)


def test_an_edit_in_every_other_room_is_tried():
    folders = {path.parent.name for path in (ROOT / "seedbed").glob("*/__init__.py")}
    assert folders == ROOMS.keys() | {"runtime"}


@pytest.mark.parametrize("definition", METHODS)
def test_an_edit_of_a_method_remakes_what_uses_it(project, definition):
    with edited(file_that_defines(project / "seedbed/methods", definition)):
        assert planned(project) == below(METHODS[definition])


@pytest.mark.parametrize("stage", STAGES)
def test_an_edit_of_a_stage_remakes_its_jobs(project, stage):
    with edited(project / f"stages/{stage}.py"):
        assert planned(project) == below(STAGES[stage])


def test_an_edit_of_plumbing_remakes_nothing(project):
    plumbing = [
        *project.glob("seedbed/runtime/**/*.py"),
        project / "seedbed/__init__.py",
        project / "stages/command.py",
    ]
    assert len(plumbing) > 5
    with contextlib.ExitStack() as stack:
        for path in plumbing:
            stack.enter_context(edited(path))
        assert planned(project) == set()


@pytest.mark.parametrize("pattern", ["lattice.hpp", "module.cpp"])
def test_an_edit_in_cpp_remakes_what_uses_the_crf(project, pattern):
    with edited(project / "seedbed/crf/native" / pattern):
        assert planned(project) == below(CRF)


@pytest.mark.parametrize("pattern", ["page*.j2", "*.css", "*.js"])
def test_an_edit_of_the_pages_template_remakes_the_report(project, pattern):
    with edited(next((project / "seedbed/report").rglob(pattern))):
        assert planned(project) == below("report")


@pytest.mark.parametrize(
    ("part", "replacement", "remade"),
    [
        ("default", "0.8", below("pseudo_labels")),
        ("description", "Another description", set()),
    ],
)
def test_of_the_settings_a_default_counts_but_no_description(project, part, replacement, remade):
    path = file_that_defines(project / "stages", "class PseudoLabelSettings")
    text = path.read_text()
    default, description = r"(?P<default>[\d.]+)", r'"(?P<description>[^"]*)"'
    pattern = rf"conflict_threshold: \w+ = Field\(\s*{default},\s*description={description}"
    field = re.search(pattern, text)
    edit = text[: field.start(part)] + replacement + text[field.end(part) :]
    with changed(path, edit.encode()):
        assert planned_anew(project) == remade


def test_an_edit_that_is_taken_back_remakes_nothing(project):
    with edited(file_that_defines(project / "seedbed", "def make_cues(")):
        pass
    assert planned(project) == set()


def test_comments_layout_and_docstrings_remake_nothing(project):
    with contextlib.ExitStack() as stack:
        for path in [*project.glob("seedbed/**/*.py"), *project.glob("stages/*.py")]:
            text = path.read_bytes().replace(b'"""', b'"""Once more: ', 1)
            stack.enter_context(changed(path, b"# why\n\n\n" + text + b"\n# more\n"))
        assert planned(project) == set()


def test_touched_files_remake_nothing(project):
    lists = f"{VOC}/ImageSets/Segmentation/*.txt"
    for pattern in ("seedbed/**/*.py", "stages/*.py", "workflow/**/*", "*.yaml", lists):
        for path in project.glob(pattern):
            os.utime(path)
    assert planned(project) == set()


def test_an_edited_list_is_read_again(project):
    path = project / VOC / "ImageSets/Segmentation/val.txt"
    with changed(path, b"".join(path.read_bytes().splitlines(keepends=True)[:-1])):
        assert planned(project) == below("convert")
    assert planned(project) == set()


def test_a_labelmap_that_nobody_names_is_watched(project):
    path = project / VOC / "labelmap.txt"
    try:
        path.write_text("background:0,0,0::\n")
        assert planned(project) == below("convert")
    finally:
        path.unlink()
    assert planned(project) == set()


def test_a_change_of_every_block_is_tried():
    assert SETTINGS.keys() | {"run", "pathvars", "rounds"} == Settings.model_fields.keys()


@pytest.mark.parametrize("block", SETTINGS)
def test_a_setting_remakes_what_depends_on_it(project, overlay, block):
    values, first = SETTINGS[block]
    assert planned(project, *overlay(**{block: values})) == below(first) | SHOWN


def test_a_block_may_have_keys_of_text_and_of_numbers(project, overlay):
    colours = {"background": [0, 0, 0], 7: [0, 128, 0]}
    jobs = planned(project, *overlay(convert={"mask_colours": colours}))
    assert jobs == below("convert") | SHOWN


def test_a_data_set_that_another_run_has_made_up_anew_is_converted(project, overlay):
    """Its lists may be the same, so that their contents tell nothing."""
    other, lists = overlay(mini_dataset={"size": 96}), f"{VOC}/ImageSets/Segmentation/val.txt"
    try:
        assert snakemake(project, "--touch", *other, "--", lists)[0] == 0
        assert planned(project, *other) == below("convert") | SHOWN
    finally:
        snakemake(project, "--touch", "--", lists)
    assert planned(project) == set()


@pytest.mark.parametrize(
    ("number", "change", "first"),
    [
        (0, {"dsrg": {"foreground_threshold": 0.9, "crf": {"iterations": 2}}}, "train-0"),
        (0, {"learning_rate": 0.1}, "train-0"),
        (1, {"learning_rate": 0.1}, "train-1"),
        (1, {"selection": {"threshold": 0, "drop": 0.1}}, "targets-1"),
        (1, {"supervise": "predictions"}, "targets-1"),
        (0, {"predict": {"flip": False}}, "predict-0-train predict-0-val"),
        (1, {"crf": {"iterations": 3}}, "crf-1-train crf-1-val"),
    ],
)
def test_a_round_is_remade_from_where_it_changed(project, overlay, number, change, first):
    jobs = planned(project, *overlay(rounds=rounds(number, **change)))
    assert jobs == below(first) | {"audit"} | SHOWN


def test_the_tags_bind_the_crf_but_not_the_audit(project, overlay):
    jobs = planned(project, *overlay(rounds=rounds(1, crf={"restrict_to_tags": False})))
    assert jobs == below("crf-1-train crf-1-val") | SHOWN


def test_another_split_to_evaluate_needs_no_new_masks(project, overlay):
    assert planned(project, *overlay(evaluate={"split": "train"})) == {
        "masks",
        "evaluate",
        *SHOWN,
    }


def test_where_and_how_it_runs_changes_nothing(project, overlay):
    how = {"device": "cuda", "compute_threads": 7, "deterministic": False, "training_processes": 2}
    assert planned(project, *overlay(run=how)) == set()
    assert planned(project, "--cores", "7") == set()


def test_other_shards_remake_the_image_wise_steps_in_parts(project, overlay):
    jobs = planned(project, *overlay(run={"shards": 2}))
    kept = {"mini_dataset-0", "convert", "classifier", "group", "jobs"}
    parts = {"cam", "saliency", "group_cam", "predict", "crf"}
    whole = {job for job in READS if job.split("-")[0] not in parts} - kept
    cut = {job for job in READS if job.split("-")[0] in parts}
    assert jobs == whole | {f"{job}-{k}-of-2" for job in cut for k in (1, 2)}


def test_forcing_the_seeds_needs_no_other_option(project):
    assert planned(project, "-R", "seeds") == below("seeds")


def test_the_main_job_can_be_named(project):
    assert planned(project, "--cores", "8", "results/miou.txt") == set()
    jobs = planned(project, "results/miou.txt", "-R", "predict")
    assert "evaluate" in jobs and "audit" not in jobs


ROUND = {"targets-0", "train-0", "predict-0-train", "predict-0-val", "crf-0-train", "crf-0-val"}
END = {"convert", *ROUND, "masks", "evaluate", "audit", *SHOWN}


@pytest.mark.parametrize(
    ("rounds", "attention", "steps"),
    [
        (["ground_truth"], "group", set()),
        (["pseudo_labels"], "group", {"saliency", "group", "group_cam", "pseudo_labels"}),
        (["pseudo_labels"], "cam", {"saliency", "classifier", "cam", "pseudo_labels"}),
        (
            ["pseudo_labels"],
            "maximum",
            {"saliency", "classifier", "cam", "group", "group_cam", "pseudo_labels"},
        ),
        (["selected"], "group", {"saliency", "classifier", "cam"}),
    ],
)
def test_a_recipe_plans_only_the_steps_it_needs(project, overlay, rounds, attention, steps):
    recipe = overlay(
        pathvars={"results": "results/other"},
        pseudo_labels={"attention": attention},
        rounds=[{"supervise": supervise} for supervise in rounds],
    )
    assert planned(project, *recipe) == END | steps


def test_later_rounds_reuse_the_first_proposals(project, overlay):
    rounds = [{"supervise": "selected"}, {"supervise": "selected"}, {"supervise": "predictions"}]
    jobs = planned(project, *overlay(rounds=rounds))
    assert {"targets-0", "targets-1", "targets-2", "train-2"} <= jobs
    assert not {"seeds", "group", "pseudo_labels"} & jobs


def test_given_masks_of_the_first_round_are_the_first_candidates_of_later_ones(project, overlay):
    (project / "data/proxy").mkdir(exist_ok=True)
    rounds = [{"supervise": "selected", "masks": "proxy"}, {"supervise": "selected"}]
    recipe = overlay(pathvars={"results": "results/other"}, rounds=rounds)
    jobs = planned(project, *recipe)
    assert {"targets-0", "targets-1", "saliency"} <= jobs
    assert not {"classifier", "cam", "group", "pseudo_labels"} & jobs
    _, messages = snakemake(project, "--dry-run", *recipe)
    made_of = re.findall(r"rule targets:\n    input: (.*)", messages)
    assert any("results/other/rounds/0/targets.h5" in files for files in made_of)


def test_what_is_given_need_not_be_made(project, overlay):
    for name in ("cams", "maps", "salient", "pseudo", "low", "high"):
        (project / "data" / name).mkdir(exist_ok=True)
    (project / "data/cues.pickle").touch()
    other = {"pathvars": {"results": "results/other"}}
    cues = planned(project, *overlay(**other, seeds={"cues": "cues.pickle"}, rounds=rounds(9)[:1]))
    assert "seeds" in cues and not {"cam", "classifier", "saliency"} & cues
    labels = [{"supervise": "pseudo_labels"}]
    given = {"cam": {"maps": "cams"}, "affinity_scores": {"low": "low", "high": "high"}}
    walked = planned(project, *overlay(**other, **given, **RANDOM_WALK, rounds=labels))
    assert {"cam", "affinity_scores", "random_walk"} <= walked
    assert not {"classifier", "saliency", "group"} & walked
    maps = {"group_cam": {"maps": "maps"}, "saliency": {"maps": "salient"}}
    mined = planned(project, *overlay(**other, **maps, rounds=labels))
    assert {"group_cam", "saliency"} <= mined and "group" not in mined
    masks = planned(project, *overlay(**other, pseudo_labels={"masks": "pseudo"}, rounds=labels))
    assert "pseudo_labels" in masks and not {"saliency", "group", "group_cam"} & masks


def test_a_round_may_go_on_from_the_round_before(project, overlay):
    jobs = planned(project, *overlay(rounds=rounds(1, weights="previous")))
    assert jobs == below("train-1") | SHOWN
    status, messages = snakemake(
        project, "--dry-run", *overlay(rounds=rounds(0, weights="previous"))
    )
    assert status == 1 and "rounds.0.weights: previous needs a round before it" in messages


def test_a_round_may_start_from_the_classifier(project, overlay):
    jobs = planned(project, *overlay(rounds=rounds(1, weights="classifier")))
    assert jobs == below("train-1") | SHOWN
    truth = [{"supervise": "ground_truth", "weights": "classifier"}]
    other = overlay(pathvars={"results": "results/other"}, rounds=truth)
    status, messages = snakemake(project, "--dry-run", *other)
    assert status == 0 and _jobs_in(messages) == END | {"classifier"}
    (read,) = re.findall(r"^rule report:\n    input: (.*)", messages, re.MULTILINE)
    logs = {f"results/other/{training}/log.tsv" for training in ("classifier", "rounds/0")}
    assert logs <= {*read.split(", ")}


def test_another_seed_is_another_made_up_data_set(project, overlay):
    convert = {"devkit": "mini-7/VOCdevkit/VOC2012", "sbd": "mini-7/benchmark_RELEASE/dataset"}
    assert planned(project, *overlay(convert=convert)) == {
        *below("convert"),
        *SHOWN,
        "mini_dataset-7",
    }


def rule_graph(project: Path, *arguments: str) -> set[tuple[str, str]]:
    """Pairs of rules, of which the second reads what the first writes."""
    status, text = snakemake(project, "--rulegraph", "mermaid-js", *arguments)
    assert status == 0, text
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", text))
    return {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", text)}


def test_the_page_draws_the_rules_as_snakemake_does(project, overlay):
    graph = rule_graph(project)
    for blocks in RANDOM_WALK, {"pseudo_labels": {"attention": "maximum"}}:
        graph |= rule_graph(project, *overlay(**blocks))
    graph |= {("convert", rule) for edge in graph for rule in edge}  # the index
    page = re.search(r"```mermaid\n(.*?)```", (ROOT / "docs/pipeline.md").read_text(), re.DOTALL)
    drawn = set()
    for line in page[1].splitlines():
        names = re.split(r" -- [\w ]+ --> | --> ", line.strip())
        drawn |= set(itertools.pairwise(names))
    assert drawn <= graph, drawn - graph
    rules = {rule for edge in graph for rule in edge}
    assert {rule for edge in drawn for rule in edge} == rules - {"all", "mini_dataset", "jobs"}


@pytest.mark.parametrize(
    ("blocks", "parts"),
    [
        ({"seed": {}}, ["config: seed: unknown key"]),
        ({"seeds": {"gird": 41}}, ["seeds.gird: unknown key", "correct config.yaml"]),
        ({"seeds": {"grid": "wide"}}, ["seeds.grid: ", "integer", "got 'wide'"]),
        (
            {"rounds": rounds(1, selection={"threshold": 1.2})},
            ["rounds.1.selection.threshold: ", "less than or equal to 1", "got 1.2"],
        ),
        ({"rounds": []}, ["rounds: "]),
        ({"classifier": {"weights": "classifier"}}, ["classifier.weights: there is no classifier"]),
        (
            {"classifier": {"weights": "weights/none.pt"}},
            ["data/weights/none.pt: does not exist", "put it there"],
        ),
        (
            {"convert": {"devkit": "VOCdevkit/VOC2007"}},
            ["data/VOCdevkit/VOC2007/", "train_aug.txt: no such list", "put the devkit there"],
        ),
        ({"convert": {"devkit": "2012/VOC2012"}}, ["data/2012/VOC2012/", "no such list"]),
        ({"convert": {"train_list": "trian"}}, ["/trian.txt: no such list"]),
        (
            {"run": {"data": "/nowhere"}, "convert": {"devkit": "x"}},
            ["/nowhere/x/", "no such list"],
        ),
    ],
)
def test_an_error_of_the_config_ends_in_one_line(project, overlay, blocks, parts):
    status, messages = snakemake(project, "--dry-run", *overlay(**blocks))
    line = messages.splitlines()[-1]
    assert status == 1 and "Traceback" not in messages
    for part in parts:
        assert part in line


def assert_convert_fails(project: Path, options: tuple[str, str], line: str) -> None:
    target = "results/broken/dataset/index.json"
    status, messages = snakemake(project, "--cores", "1", *options, "--", target)
    assert status == 1 and "Traceback" not in messages
    assert re.search(f"python -m stages.convert: error: .*{line}", messages), messages
    written = [path for path in (project / "results/broken").rglob("*") if path.is_file()]
    assert all("logs" in path.parts for path in written), written


BROKEN = {"results": "results/broken"}


def test_an_unknown_class_is_named(project, overlay):
    options = overlay(pathvars=BROKEN, convert={"classes": [*CLASSES, "unicorn"]})
    assert_convert_fails(project, options, "no train image has a unicorn .*: take it off")


def test_a_missing_mask_is_named(project, overlay):
    first = (project / VOC / "ImageSets/Segmentation/val.txt").read_text().split()[0]
    path = project / VOC / f"SegmentationClass/{first}.png"
    with changed(path, path.read_bytes()):
        path.unlink()
        assert_convert_fails(project, overlay(pathvars=BROKEN), f"put {path.name} there")


def test_an_unreadable_image_is_named(project, overlay):
    path = next((project / VOC / "JPEGImages").iterdir())
    with changed(path, path.read_bytes()[:200]):
        assert_convert_fails(project, overlay(pathvars=BROKEN), path.name)


def test_lint_finds_nothing(project):
    status, messages = snakemake(project, "--lint")
    assert status == 0, messages
