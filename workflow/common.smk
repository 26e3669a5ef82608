"""The settings, what every rule may ask of them, and the environment of the stages."""

import shlex
import sys
from pathlib import Path

from snakemake.common.configfile import load_configfile
from snakemake.pathvars import Pathvars

from seedbed.models.registry import build
from seedbed.runtime.errors import UserError
from stages.settings import DEFAULT_KINDS, combine, parse_config
from stages.settings.yaml_file import refuse_repeated_keys
from workflow.places import colon_free, ensure_user_name, place_of

ROOT = Path(workflow.basedir)


def config_files():
    """Paths and contents of the config files, in the order in which they were given."""
    paths = workflow.overwrite_configfiles or [Path("config.yaml")]
    for path in paths:
        if path.is_file():  # a pipe can be read only once
            refuse_repeated_keys(path)
    if len(paths) == 1 and not workflow.config_settings.config:
        return [(paths[0], dict(config))]  # read already; it may be a pipe
    for path in paths:
        if not path.is_file():
            raise UserError(f"{path}: is a pipe, which can be read only once; give a file")
    return [(path, load_configfile(path)) for path in paths]


try:
    # Snakemake's own merge would keep the keys of another kind.
    config = combine(config_files(), workflow.config_settings.config, DEFAULT_KINDS, ROOT)
    settings = parse_config(config)
    search_path = colon_free(Path(sys.executable).parent), colon_free(ROOT)
except UserError as error:
    sys.exit(str(error))

ensure_user_name()
run = settings.run
DATA = place_of(run.data)  # the same for a relative and an absolute path


def check_timm():
    """End in one line if timm lacks a network of the config, or that network an option's value."""
    trainings = {place: t for place, t in settings.trainings() if t.network.startswith("timm:")}
    if trainings:
        import torch  # takes seconds

    for place, training in trainings.items():
        try:
            with torch.device("meta"):  # without memory for weights
                build(training.network, 1, **training.options)
        except UserError as error:
            sys.exit(f"{place}: {error}")


if workflow.is_main_process:
    check_timm()


FOLDERS = settings.pathvars.folders()
RESULTS = FOLDERS["results"]  # where no rule's own path can say <results>
# Snakemake has read them too, without what the files below an overlay say.
workflow.pathvars.update(Pathvars.from_config({"pathvars": FOLDERS}))
# A training frees its tensors in every iteration. glibc keeps their memory, in huge pages, instead
# of returning it to the kernel, which would clear it again: this saves a tenth of the time on a CPU.
KEEP_MEMORY = "GLIBC_TUNABLES=" + ":".join(
    f"glibc.malloc.{name}={value}"
    for name, value in {"hugetlb": 1, "mmap_threshold": 2**32, "trim_threshold": 2**32}.items()
)
# What runs the stage of a training: one process, or several that share its batches. Without the
# `--` torchrun takes the stage's options for its own.
TRAIN = (
    f"env {KEEP_MEMORY} python -m"
    if run.training_processes == 1
    else f"env {KEEP_MEMORY} OMP_NUM_THREADS={run.compute_threads} python -m stages.torchrun"
    f" --standalone --nproc-per-node {run.training_processes} -m --"
)
ENVIRONMENT = {
    "PYTHONPATH": search_path[1],
    "SEEDBED_DATA": DATA,
    "SEEDBED_DEVICE": run.device,
    "SEEDBED_THREADS": run.compute_threads,
    "SEEDBED_DETERMINISTIC": int(run.deterministic),
    "SEEDBED_TRAIN": TRAIN,
}
variables = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in ENVIRONMENT.items())
prefix = f"set -euo pipefail; export PATH={shlex.quote(search_path[0])}:$PATH {variables}; "
shell.prefix(prefix.replace("{", "{{").replace("}", "}}"))  # Snakemake formats it

MINI_LISTS = ["train", "val", "trainval", "train_aug"]
SHARDS = [f"{k + 1}-of-{run.shards}" for k in range(run.shards)]
LAST_ROUND = len(settings.rounds) - 1
# What each round is trained on; `given`: a folder of masks that the config names.
SUPERVISION = ["given" if item.masks else item.supervise for item in settings.rounds]
# Later rounds then select from the first round's targets.
FIRST_SELECTS = settings.rounds[0].supervise == "selected"


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


def fill(text, wildcards):
    """A text with the values of a job's wildcards: `rounds.{round}` in round 1 is `rounds.1`."""
    return text.format(**dict(wildcards.items()))


def shards_of(folder):
    """Files of all shards of a step that works image by image."""
    home = {"cam": "shared", "saliency": "saliency"}.get(folder, "results")
    return [f"<{home}>/{folder}/{shard}.h5" for shard in SHARDS]
