"""What all rules share: settings, environment of the stages, names of artefacts, quoting."""

import functools
import json
import os
import re
import sys
from pathlib import Path

from snakemake.common.configfile import load_configfile

from seedbed.runtime.errors import UserError
from stages.settings import DEFAULT_KINDS, combine, parse_config

ROOT = Path(workflow.basedir)


def config_files():
    """Paths and contents of the config files, in the order in which they were given."""
    paths = workflow.overwrite_configfiles or [Path("config.yaml")]
    if len(paths) == 1 and not workflow.config_settings.config:
        return [(paths[0], dict(config))]  # read already; it may be a pipe
    return [(path, load_configfile(path)) for path in paths]


try:
    # Snakemake's own merge would keep the keys of another kind.
    config = combine(
        config_files(), workflow.config_settings.config, DEFAULT_KINDS, ROOT
    )
    settings = parse_config(config)
except UserError as error:
    sys.exit(str(error))

run = settings.run
RESULTS = settings.pathvars["results"]  # where no rule's own path can say <results>
# What runs the stage of a training: one process, or several that share its batches. Without the
# `--` torchrun takes the stage's options for its own.
TRAIN = (
    "python -m"
    if run.training_processes == 1
    else f"env OMP_NUM_THREADS={run.compute_threads} python -m stages.torchrun --standalone"
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


wildcard_constraints:
    shard=r"\d+-of-\d+",
    round=r"\d+",
    split="train|val|test",
    seed=r"\d+",


def block(key):
    """The settings under a key of the config, such as `cam` or `rounds.0.crf`.

    All that the workflow knows of a block comes from here, and is asked for only when a job that
    needs the block is in the DAG: a recipe leaves out the blocks that it does not use.
    """
    first, *rest = key.split(".")
    try:
        value = settings.block(first, needed_by=f"the rule {first}")
    except UserError as error:
        sys.exit(str(error))
    for name in rest:
        value = value[int(name)] if name.isdigit() else getattr(value, name)
    return value


def settings_json(key, **dump_options):
    """Param: the settings under a key as JSON; the key may hold wildcards (`rounds.{round}`)."""
    return lambda wildcards: block(of_job(key, wildcards)).model_dump_json(
        **dump_options
    )


def of_job(key, wildcards):
    """A key of the config with the job's wildcards filled in."""
    return key.format(**dict(wildcards.items()))


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


def weights_file(key, relative):
    """The file of a network's published weights; one of TensorFlow may be three."""
    index = data_path(f"{relative}.index")
    if os.path.exists(index):
        return index
    path = given(key, relative)
    if os.path.getsize(path) == 0:
        sys.exit(f"{path}: is empty; get it again, or change {key} in the config")
    return path


def shards_of(folder):
    """All shards of an image-wise step."""
    return [f"<results>/{folder}/{shard}.h5" for shard in SHARDS]


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
