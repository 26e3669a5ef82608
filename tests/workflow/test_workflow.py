"""Which jobs are planned on a finished run, after each kind of change, and what errors say."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from seedbed.data.mini.animals import CLASSES
from stages.config import Settings
from tests.support.workflow_helpers import (
    CONFIG,
    ROOT,
    copy_project,
    finished_run,
    planned,
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
TRAININGS = "classifier group train"
SHOWN = {"jobs", "report"}  # the page shows the settings
EDITS = {
    "seedbed/formats/maps.py": "convert",
    "seedbed/runtime/atomic.py": "mini_dataset",
    "seedbed/methods/cam.py": "cam group_cam",
    "seedbed/methods/psa/labels.py": TRAININGS,
    "seedbed/formats/group_wsss.py": "group_cam",
    "seedbed/crf/__init__.py": "pseudo_labels train targets crf audit",
    "seedbed/crf/backends.py": "pseudo_labels train targets crf audit",
    "seedbed/crf/native/lattice.hpp": "pseudo_labels train targets crf audit",
    "seedbed/crf/lattice.py": "pseudo_labels train targets crf audit",
    "seedbed/crf/meanfield.py": "pseudo_labels train targets crf audit",
    "seedbed/crf/native/module.cpp": "pseudo_labels train targets crf audit",
    "seedbed/crf/parameters.py": "pseudo_labels train targets crf audit",
    "seedbed/methods/seed_statistics.py": "seeds",
    "seedbed/methods/seeds.py": "seeds",
    "seedbed/data/classes.py": "convert",
    "seedbed/methods/group_wsss/partners.py": f"{TRAININGS} group_cam",
    "seedbed/data/images.py": "convert",
    "seedbed/data/index.py": "convert",
    "seedbed/data/mini/scenes.py": "mini_dataset",
    "seedbed/training/samples.py": TRAININGS,
    "seedbed/training/views.py": TRAININGS,
    "seedbed/data/layouts/voc.py": "convert",
    "seedbed/runtime/pools.py": f"{TRAININGS} saliency",
    "seedbed/runtime/gpu_locks.py": f"{TRAININGS} saliency",
    "seedbed/training/processes.py": f"{TRAININGS} saliency",
    "seedbed/training/objectives/dsrg.py": "train",
    "seedbed/training/gradients.py": TRAININGS,
    "seedbed/methods/dsrg/growing.py": "train",
    "seedbed/inference/multiscale.py": "cam predict",
    "seedbed/inference/probabilities.py": "predict",
    "seedbed/inference/group_maps.py": "group_cam",
    "seedbed/formats/grey.py": "group_cam saliency",
    "seedbed/methods/losses.py": TRAININGS,
    "seedbed/data/given_masks.py": "convert",
    "seedbed/evaluation/metrics.py": "evaluate audit",
    "seedbed/training/optimisation.py": TRAININGS,
    "seedbed/formats/masks.py": "mini_dataset",
    "seedbed/models/backbones/tiny.py": TRAININGS,
    "seedbed/methods/group_wsss/pseudo_labels.py": "pseudo_labels",
    "seedbed/methods/psa/pseudo_labels.py": "pseudo_labels audit",
    "seedbed/formats/psa.py": "cam",
    "seedbed/inference/refine.py": "pseudo_labels crf",
    "seedbed/report/page.css": "report",
    "seedbed/report/tables.py": "report",
    "seedbed/methods/resampling.py": TRAININGS,
    "seedbed/formats/pickles/restricted.py": "convert",
    "seedbed/methods/saliency.py": "saliency",
    "seedbed/methods/spsm/masks.py": "targets",
    "seedbed/methods/spsm/pixels.py": "targets",
    "seedbed/training/objectives/supervision.py": TRAININGS,
    "seedbed/methods/spsm/selection.py": "targets",
    "seedbed/training/objectives/objective.py": TRAININGS,
    "seedbed/training/objectives/masks.py": "train",
    "seedbed/training/objectives/tags.py": "classifier",
    "seedbed/training/objectives/group.py": "group",
    "seedbed/training/supervision.py": TRAININGS,
    "seedbed/training/network.py": TRAININGS,
    "seedbed/formats/tables.py": "mini_dataset",
    "seedbed/training/loop.py": TRAININGS,
    "seedbed/models/weights/load.py": TRAININGS,
    "stages/audit.py": "audit",
    "stages/command.py": "mini_dataset",
    "stages/config.py": "",  # checks alone
    "stages/evaluate.py": "evaluate",
    "stages/masks.py": "masks",
    "stages/random_walk.py": "",  # this run has none
    "stages/report.py": "report",
    "stages/settings.py": "",  # the values count, and reach the jobs as parameters
    "stages/targets.py": "targets",
    "stages/train_group.py": "group",
    "stages/train_round.py": "train",
    "stages/training_run.py": TRAININGS,
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
    "affinity": ({"seed": 1}, ""),
    "random_walk": ({"steps": 8}, ""),
    "pseudo_labels": ({"conflict_threshold": 0.7}, "pseudo_labels"),
    "training": ({"jitter": 0.5}, "train"),
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

    def write(**blocks) -> tuple[str, str]:
        path = tmp_path / "overlay.yaml"
        path.write_text(yaml.safe_dump(blocks))
        return "--configfile", str(path)

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


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_remakes_what_uses_the_file(project, name):
    path = project / name
    with changed(path, path.read_bytes() + b"\nADDED = 1\n"):
        assert planned(project) == below(EDITS[name])


def test_an_edit_that_is_taken_back_remakes_nothing(project):
    path = project / "seedbed/methods/seeds.py"
    with changed(path, path.read_bytes() + b"\nADDED = 1\n"):
        pass
    assert planned(project) == set()


def test_comments_and_layout_remake_nothing(project):
    with contextlib.ExitStack() as stack:
        for path in [*project.glob("seedbed/**/*.py"), *project.glob("stages/*.py")]:
            stack.enter_context(changed(path, b"# why\n\n\n" + path.read_bytes() + b"\n# more\n"))
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


def test_a_change_of_every_block_is_tried():
    assert SETTINGS.keys() | {"run", "pathvars", "rounds"} == Settings.model_fields.keys()


@pytest.mark.parametrize("block", SETTINGS)
def test_a_setting_remakes_what_depends_on_it(project, overlay, block):
    values, first = SETTINGS[block]
    assert planned(project, *overlay(**{block: values})) == below(first) | SHOWN


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
    jobs = planned(project, *overlay(crf={"restrict_to_tags": False}))
    assert jobs == below("crf") | SHOWN


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
    walk = {"attention": "random_walk", "rule": "argmax"}
    labels = [{"supervise": "pseudo_labels"}]
    given = {"cam": {"maps": "cams"}, "affinity_scores": {"low": "low", "high": "high"}}
    walked = planned(project, *overlay(**other, **given, pseudo_labels=walk, rounds=labels))
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
    assert planned(project, *other) == END | {"classifier"}


def test_another_seed_is_another_made_up_data_set(project, overlay):
    convert = {"devkit": "mini-7/VOCdevkit/VOC2012", "sbd": "mini-7/benchmark_RELEASE/dataset"}
    assert planned(project, *overlay(convert=convert)) == {
        *below("convert"),
        *SHOWN,
        "mini_dataset-7",
    }


@pytest.mark.parametrize(
    ("blocks", "parts"),
    [
        ({"seed": {}}, ["config: seed: unknown key"]),
        ({"seeds": {"gird": 41}}, ["seeds.gird: unknown key", "mend config.yaml"]),
        ({"seeds": {"grid": "wide"}}, ["seeds.grid: ", "integer", "got 'wide'"]),
        (
            {"rounds": rounds(1, selection={"threshold": 1.2})},
            ["rounds.1.selection.threshold: ", "less than or equal to 1", "got 1.2"],
        ),
        ({"rounds": []}, ["rounds: "]),
        ({"classifier": {"weights": "classifier"}}, ["classifier: ", "weights"]),
        (
            {"classifier": {"weights": "weights/none.pt"}},
            ["data/weights/none.pt: there is none", "put it there"],
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
