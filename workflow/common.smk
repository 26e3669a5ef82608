"""Helpers of the rules: settings, environment of the stages, digests, names of artefacts."""

import ast
import functools
import hashlib
import json
import math
import os
import re
import sys
from pathlib import Path

from pydantic import ValidationError

from stages.command import explain
from stages.settings import Settings

ROOT = Path(workflow.basedir)
try:
    settings = Settings.model_validate(config)
except ValidationError as error:
    sys.exit(f"config: {explain(error)}; mend config.yaml, the recipe or --config")

run = settings.run
RESULTS = settings.pathvars["results"]  # where no rule's own path can say <results>
# What runs the stage of a training: one process, or several that share its batches. Without the
# `--` torchrun takes the stage's options for its own.
TRAIN = (
    "python -m"
    if run.training_processes == 1
    else f"env OMP_NUM_THREADS={run.compute_threads} python -m torch.distributed.run --standalone"
    f" --nproc-per-node {run.training_processes} -m --"
)
shell.prefix(
    f"set -euo pipefail; export PATH='{Path(sys.executable).parent}':$PATH PYTHONPATH='{ROOT}' "
    f"SEEDBED_DATA='{run.data}' SEEDBED_DEVICE={run.device} "
    f"SEEDBED_THREADS={run.compute_threads} SEEDBED_DETERMINISTIC={int(run.deterministic)} "
    f"SEEDBED_TRAIN='{TRAIN}'; "
)

MINI_LISTS = ["train", "val", "trainval", "train_aug"]
SHARDS = [f"{k + 1}-of-{run.shards}" for k in range(run.shards)]
LAST_ROUND = len(settings.rounds) - 1
SUPERVISION = ["given" if item.masks else item.supervise for item in settings.rounds]
BEGINS_SELECTED = settings.rounds[0].supervise == "selected"  # computed or given
NEEDS_PSEUDO_LABELS = "pseudo_labels" in SUPERVISION or (
    "selected" in SUPERVISION and not BEGINS_SELECTED
)
COMPUTES_SEEDS = "seeds" in SUPERVISION and settings.seeds.cues is None
COMPUTES_PSEUDO_LABELS = NEEDS_PSEUDO_LABELS and settings.pseudo_labels.masks is None
NEEDS_CAM = (
    COMPUTES_SEEDS
    or SUPERVISION[0] == "selected"
    or (COMPUTES_PSEUDO_LABELS and settings.pseudo_labels.attention != "group")
)
NEEDS_SALIENCY = (
    COMPUTES_SEEDS
    or "selected" in SUPERVISION
    or (COMPUTES_PSEUDO_LABELS and settings.pseudo_labels.rule == "saliency_guided")
)


wildcard_constraints:
    shard=r"\d+-of-\d+",
    round=r"\d+",
    split="train|val|test",
    seed=r"\d+",


def data_path(relative):
    """Path of something in the data folder (an absolute path stays as it is)."""
    return os.path.join(run.data, relative)


def given(key, relative, *, folder=False):
    """Path of a file or folder that a key of the config names, in the data folder."""
    path = data_path(relative)
    remedy = f"put it there, or change {key} in the config"
    if not os.path.exists(path):
        sys.exit(f"{path}: there is none; {remedy}")
    if os.path.isdir(path) != folder:
        found, wanted = ("a file", "a folder") if folder else ("a folder", "a file")
        sys.exit(f"{path}: is {found}, and {key} names {wanted}; {remedy}")
    return path


def initial_weights(name, block, number=0):
    """Input `initial` of a training: its weights, if it names some."""
    if block.weights is None:
        return {}
    if block.weights == "classifier":
        return {"initial": "<results>/classifier/weights.pt"}
    if block.weights == "previous":
        return {"initial": f"<results>/rounds/{number - 1}/weights.pt"}
    return {"initial": weights_file(name, block)}


def weights_file(name, block):
    """The file of a network's published weights; one of TensorFlow may be three."""
    index = data_path(f"{block.weights}.index")
    if os.path.exists(index):
        return index
    key = f"{name}.weights"
    path = given(key, block.weights)
    if os.path.getsize(path) == 0:
        sys.exit(f"{path}: is empty; get it again, or change {key} in the config")
    return path


def cpus(count):
    """Threads that claim `count` real CPUs, also when --cores promises more than there are.

    Without --cores a cluster runs the jobs, and this machine's CPUs say nothing of its nodes'.
    """
    claimed, real = workflow.resource_settings.cores, len(os.sched_getaffinity(0))
    if claimed is None:
        return count
    return max(1, math.ceil(min(count, real) * max(1, claimed / real)))


def memory(base, worker=0):
    """Resource mem_mb of a job and each of its workers; doubles with each attempt.

    In `base` are 400 MB of the Snakemakes that a cluster's job consists of.
    """
    return lambda wildcards, threads, attempt: (
        (base + worker * threads) * 2 ** (attempt - 1)
    )


def inference_memory(*blocks):
    """Resource mem_mb of a rule whose workers run one of some networks on the CPU."""
    tiny = all(block.network.startswith("tiny") for block in blocks)
    return memory(700, 600) if tiny else memory(1500, 2000)


def training_memory(*blocks, images=1):
    """Resource mem_mb of the largest of some trainings on the CPU; on a GPU they need less.

    images: that a sample consists of. docs/cluster.md has the measurements.
    """
    needs = []
    for block in blocks:
        tiny = block.network.startswith("tiny")
        fixed, kilobytes_a_pixel = (1200, 2) if tiny else (3000, 8)
        pixels = math.ceil(block.batch / block.accumulation) * images * block.crop**2
        needs.append(
            fixed * run.training_processes + kilobytes_a_pixel * pixels // 1000
        )
    return memory(max(needs))


def minutes(count):
    """Resource runtime: a limit, not an estimate; grows with each attempt."""
    return lambda wildcards, attempt: count * attempt


def training_minutes(*blocks):
    """Two seconds an iteration, at most a day: the next attempt goes on from the checkpoint."""
    return minutes(min(10 + max(block.iterations for block in blocks) // 30, 24 * 60))


@functools.cache
def code_digest(dotted):
    """Hash of all project code that a module imports; comments and layout do not count.

    Settings are left out: their values reach a rule through its params.
    """
    total = hashlib.sha256()
    for path in sorted(project_files(dotted, set())):
        total.update(f"{path.relative_to(ROOT)} {content(path)}".encode())
    return total.hexdigest()[:16]


@functools.cache
def content(path):
    """What counts of a file: of Python, its syntax tree."""
    text = path.read_text()
    return ast.dump(ast.parse(text)) if path.suffix == ".py" else text


def project_files(dotted, seen):
    """Add to `seen` the files of a module, of its parents and of what they import."""
    parts = dotted.split(".")
    for depth in range(1, len(parts) + 1):
        path = ROOT.joinpath(*parts[:depth])
        package = path / "__init__.py"
        path = package if package.exists() else path.with_suffix(".py")
        settings_only = parts[:depth] == ["stages", "settings"]
        if path.exists() and path not in seen and not settings_only:
            seen.add(path)
            beside = ("*.c[pu]*", "*.j2", "*.css", "*.js") if path == package else ()
            seen.update(
                file for pattern in beside for file in path.parent.glob(pattern)
            )
            for name in imported(path, ".".join(parts[:depth])):
                project_files(name, seen)
    return seen


@functools.cache
def imported(path, dotted):
    """Names of the modules that a file may import (`from a import b` may mean a or a.b)."""
    package = (
        dotted.split(".") if path.name == "__init__.py" else dotted.split(".")[:-1]
    )
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            names += [name, *(f"{name}.{alias.name}" for alias in node.names)]
    return names


def convert_inputs(wildcards):
    """The files that say which images there are and what is on them."""
    block = settings.convert
    if block.folder:
        table = given("convert.folder.labels", block.folder.labels)
        for key in ("images", "masks"):
            if path := getattr(block.folder, key):
                given(f"convert.folder.{key}", path, folder=True)
        return [table]
    if block.coco:
        files = filter(None, [block.coco.instances, block.coco.val_instances])
        found = [given("convert.coco", path) for path in files]
        for path in filter(None, [block.coco.images, block.coco.val_images]):
            given("convert.coco", path, folder=True)
        return found
    return devkit_lists(block)


def devkit_lists(block):
    """The devkit's lists; one line says what is missing when nothing can make it."""
    names = [block.train_list, block.val_list, *filter(None, [block.test_list])]
    is_mini = re.fullmatch(r"mini-\d+/VOCdevkit/VOC2012", block.devkit)
    made = MINI_LISTS if is_mini else []
    folder = os.path.join(data_path(block.devkit), "ImageSets", "Segmentation")
    lists = {name: os.path.join(folder, f"{name}.txt") for name in names}
    for name, path in lists.items():
        if name not in made and not os.path.exists(path):
            sys.exit(
                f"{path}: no such list; put the devkit there, or set convert and run.data"
            )
    return list(lists.values())


def shards_of(folder):
    """All shards of an image-wise step."""
    return [f"<results>/{folder}/{shard}.h5" for shard in SHARDS]


def published_cues():
    """The cue file that the config names, and its list."""
    block = settings.seeds
    files = {"cue_pickle": given("seeds.cues", block.cues)}
    if block.cue_list:
        files["cue_list"] = given("seeds.cue_list", block.cue_list)
    return files


def label_inputs(wildcards):
    """Where the image-level labels are read from, if the devkit does not hold them."""
    return published_cues() if settings.convert.label_source == "cues" else {}


def seed_inputs(wildcards):
    """What the cues are made from, or the file that already holds them."""
    if settings.seeds.cues:
        return published_cues()
    return {"cams": shards_of("cam"), "saliency": shards_of("saliency")}


def cam_inputs(wildcards):
    """The classifier, or the folder of the maps that stand in for its own."""
    if settings.cam.maps:
        return {"given": given("cam.maps", settings.cam.maps, folder=True)}
    return {"weights": "<results>/classifier/weights.pt"}


def saliency_inputs(wildcards):
    """The folder of given maps, if there is one."""
    maps = settings.saliency.maps
    return {"given": given("saliency.maps", maps, folder=True)} if maps else {}


def group_cam_inputs(wildcards):
    """The group network and what it kept, or the folder of maps that stand in for it."""
    if settings.group_cam.maps:
        return {"given": given("group_cam.maps", settings.group_cam.maps, folder=True)}
    return {"weights": "<results>/group/weights.pt", "kept": "<results>/group/maps.h5"}


def affinity_score_inputs(wildcards):
    """The maps that the scores are made from, or the folders that hold the scores."""
    block = settings.affinity_scores
    if block.low is None:
        return {"cams": f"<results>/cam/{wildcards.shard}.h5"}
    folders = {"low": block.low, "high": block.high}
    return {
        "given": [
            given(f"affinity_scores.{key}", path, folder=True)
            for key, path in folders.items()
        ]
    }


def target_inputs(wildcards):
    """What a round's targets are made from."""
    number = int(wildcards.round)
    supervise = SUPERVISION[number]
    before = f"rounds/{number - 1}"
    if supervise == "given":
        block, key = settings.rounds[number], f"rounds.{number}.mask"
        lists = [given(f"{key}_list", block.mask_list)] if block.mask_list else []
        return {"given": [given(f"{key}s", block.masks, folder=True), *lists]}
    if supervise == "pseudo_labels":
        return {"masks": "<results>/pseudo_labels.h5"}
    if supervise == "ground_truth":
        return {"masks": "<results>/dataset/masks.h5"}
    refined = {"refined": shards_of(f"{before}/masks/train")}
    if supervise == "predictions":
        return refined
    saliency = {"saliency": shards_of("saliency")}
    if number == 0:
        return {"attention": shards_of("cam"), **saliency}
    first = "rounds/0/targets.h5" if BEGINS_SELECTED else "pseudo_labels.h5"
    predictions = shards_of(f"{before}/predictions/train")
    return {
        "masks": f"<results>/{first}",
        "predictions": predictions,
        **refined,
        **saliency,
    }


def supervision_of(wildcards):
    """What a round's training reads: seeds or targets, and initial weights."""
    number = int(wildcards.round)
    block = settings.rounds[number]
    initial = initial_weights(f"rounds.{number}", block, number)
    if block.method == "dsrg":
        return {"cues": "<results>/seeds/cues.h5", **initial}
    return {"targets": f"<results>/rounds/{number}/targets.h5", **initial}


def pseudo_label_inputs(wildcards):
    """Attention maps of the network or networks that the settings name, and saliency."""
    block = settings.pseudo_labels
    if block.masks:
        return {"given": given("pseudo_labels.masks", block.masks, folder=True)}
    maps = {
        "group": shards_of("group/cam"),
        "cam": shards_of("cam"),
        "random_walk": shards_of("affinity/cam"),
    }
    saliency = {"saliency": shards_of("saliency")}
    files = saliency if block.rule == "saliency_guided" else {}
    if block.attention == "maximum":
        return {"attention": maps["group"], "second_attention": maps["cam"], **files}
    return {"attention": maps[block.attention], **files}


def mask_inputs(wildcards):
    """The last round's masks of the split that is scored, or the folder that stands in."""
    block = settings.evaluate
    if block.masks:
        return {"given": given("evaluate.masks", block.masks, folder=True)}
    return {"refined": shards_of(f"rounds/{LAST_ROUND}/masks/{block.split}")}


def audited(wildcards):
    """Every artefact of the recipe that holds or makes masks; there is a truth to score it by."""
    layout = settings.convert.folder
    if layout and not layout.masks:
        sys.exit(
            "convert.folder.masks: without masks nothing can be scored; name their folder, or ask "
            f"for {RESULTS}/masks.h5 alone"
        )
    numbers = range(LAST_ROUND + 1)
    splits = [f"rounds/{n}/{{}}/{split}" for n in numbers for split in ("train", "val")]
    steps = {
        "predictions": [
            path for s in splits for path in shards_of(s.format("predictions"))
        ],
        "refined": [path for s in splits for path in shards_of(s.format("masks"))],
        "targets": [
            f"<results>/rounds/{n}/targets.h5"
            for n in numbers
            if SUPERVISION[n] != "seeds"
        ],
    }
    if NEEDS_CAM:
        steps["cams"] = shards_of("cam")
    if NEEDS_SALIENCY:
        steps["saliency"] = shards_of("saliency")
    if "seeds" in SUPERVISION:
        steps["cues"] = "<results>/seeds/cues.h5"
    if NEEDS_PSEUDO_LABELS:
        steps["pseudo_labels"] = "<results>/pseudo_labels.h5"
    return steps


def report_inputs(wildcards):
    """What the page shows beside all that is scored: further maps, and the trainings' logs."""
    uses = settings.pseudo_labels.attention if COMPUTES_PSEUDO_LABELS else None
    trained = ["classifier"] if NEEDS_CAM and not settings.cam.maps else []
    shown = {}
    if uses in ("group", "maximum"):
        shown["group_cams"] = shards_of("group/cam")
        trained += [] if settings.group_cam.maps else ["group"]
    if uses == "random_walk":
        shown["walks"] = shards_of("affinity/cam")
        trained.append("affinity")
    trained += [f"rounds/{n}" for n in range(LAST_ROUND + 1)]
    return {**shown, "logs": [f"<results>/{name}/log.tsv" for name in trained]}


@functools.cache
def exports():
    """What can be written as the published systems do: options of the stage, and its inputs."""
    found = {
        "cam": ("cam", shards_of("cam")),
        "affinity_low": ("affinity_low", shards_of("affinity/scores")),
        "affinity_high": ("affinity_high", shards_of("affinity/scores")),
        "saliency": ("saliency", shards_of("saliency")),
        "attention": ("attention", shards_of("group/cam")),
        "pseudo_labels": ("masks", "<results>/pseudo_labels.h5"),
    }
    for n, supervise in enumerate(SUPERVISION):
        for split in ("train", "val", "test"):
            masks = shards_of(f"rounds/{n}/masks/{split}")
            found[f"masks-{n}-{split}"] = ("masks --style grey", masks)
        if supervise == "selected":
            found[f"selected-{n}"] = ("selected", f"<results>/rounds/{n}/targets.h5")
    return found


def options(inputs):
    """Command-line options of a rule's named inputs, quoted.

    A stage finds what is `given` through its settings: Snakemake alone must know the path.
    """
    return " ".join(
        f"--{name.replace('_', '-')} {quoted(files)}"
        for name, files in inputs.items()
        if name != "given"
    )


def quoted(files):
    """Paths for the shell; all shards of a step as one, for bash takes no command over 128 KiB.

    A single path may be that of one shard alone, and stays what it is.
    """
    if isinstance(files, str):
        return f"'{files}'"
    if run.shards > 1:
        every = f"{{1..{run.shards}}}-of-"
        files = dict.fromkeys(re.sub(r"\b\d+-of-(?=\d+\.h5$)", every, f) for f in files)
    return " ".join(f"'{path}'" for path in files)
