"""The shell commands of the rules, and the params that they are made from."""

import json
import re
import shlex

from workflow.contents import ContentDigest
from workflow.digests import CodeDigest

# A stage that works image by image does it with `threads` workers.
STAGE = (
    "SEEDBED_WORKERS={threads} python -m stages.{params.stage} {params.values} {params.files}"
    " 2>&1 | tee {log:q}"
)
TRAINING = (
    "${{SEEDBED_TRAIN:-python -m}} stages.{params.stage} {params.values} {params.files}"
    " --code {params.code} 2>&1 | tee {log:q}"
)

code_digest = CodeDigest(ROOT)
content_digest = ContentDigest(Path(".snakemake", "seedbed_contents.json"))


def stage(name, *, given=None, paths=None, **values):
    """Params of a rule that runs stages/NAME.py by STAGE or TRAINING.

    Options of the command are `values` (text, in which wildcards are filled in, or a function of
    the wildcards), and the rule's files by their names: `index=…` becomes `--index …`, the one
    output without a name `--output …`. A job runs again when a value or the code changes;
    Snakemake compares the files itself, and ignores params that are made from them.

    given: input function; of the files that it names and no rule makes, the contents count.
    paths: further options: a path that is no file of the rule, or a function that gives a list of
        them; they do not count.
    """
    content = {"content": lambda wildcards: content_of(given(wildcards))} if given else {}
    return {
        **content,
        "stage": name,
        "code": lambda wildcards: code_digest(f"stages.{name}"),
        "values": lambda wildcards: options(
            {key: text_of(value, wildcards) for key, value in values.items()}
        ),
        "files": lambda wildcards, input, output: options(
            {
                **other_paths(paths or {}, wildcards),
                **files_of(wildcards, input, output, given),
            }
        ),
    }


def content_of(inputs):
    """Digests, by their names, of the inputs that no rule makes; for a drawing they do not count."""
    if DRAWING:
        return {}
    files = chosen(inputs, is_given=True)
    try:
        return {
            name: content_digest([paths] if isinstance(paths, str) else paths)
            for name, paths in files.items()
        }
    except UserError as error:
        sys.exit(str(error))


def files_of(wildcards, input, output, given):
    """The options that name the rule's files, those included that no rule makes."""
    others = chosen(given(wildcards), is_given=True) if given else {}
    others.pop("from_config", None)
    return {k: paths_of(v) for k, v in {**others, **named_files(input, output)}.items()}


def other_paths(paths, wildcards):
    """The options that name paths which are no files of the rule."""
    named = {k: path() if callable(path) else fill(path, wildcards) for k, path in paths.items()}
    return {key: paths_of(path) for key, path in named.items() if path}


def options(values):
    """Options of a command line: `--cue-list 'a list.txt'` for `cue_list`."""
    return " ".join(option_words(values))


def option_words(values):
    """Names and values of options, in turn: `--cue-list` and its value for `cue_list`."""
    for key, value in values.items():
        yield from (f"--{key.replace('_', '-')}", value)


def settings_json(key, **dump_options):
    """Value for `stage`: the settings under a key of the config, as JSON."""
    return lambda wildcards: block(fill(key, wildcards)).model_dump_json(**dump_options)


def target_settings(wildcards):
    """The settings of a round's targets, as JSON."""
    return block(f"rounds.{wildcards.round}").targets().model_dump_json()


def training_settings(wildcards):
    """The settings of a round's training, as JSON: not those of its targets and predictions."""
    others = {"masks", "mask_list", "selection", "predict", "crf"}
    return block(f"rounds.{wildcards.round}").model_dump_json(exclude=others)


def group_size(wildcards):
    """Images in a group of Group-WSSS; 0 where maps are given and no group is formed."""
    return 0 if block("group_cam").maps else block("group").group_size


def text_of(value, wildcards):
    """The value of an option, quoted for the shell."""
    text = value(wildcards) if callable(value) else fill(value, wildcards)
    return shlex.quote(str(text))


def named_files(input, output):
    """Paths of the rule's files by the options that take them; `output` for one without a name.

    Inputs called `from_config` are left out: the stage knows their paths from its settings.
    """
    outputs = dict(output.items())
    unnamed = [path for path in output if path not in outputs.values()]
    if len(unnamed) == 1:
        outputs["output"] = unnamed[0]
    inputs = {key: paths for key, paths in input.items() if key != "from_config"}
    return inputs | outputs


def paths_of(files):
    """Paths for the shell; all shards of a step are written as one, `cam/{1..16}-of-16.h5`.

    bash takes no command over 128 KiB, which the names of some thousand shards would exceed. It
    reads the braces as the stages do, so that a command can be run by hand.
    """
    if isinstance(files, str):
        files = [files]
    elif run.shards > 1:
        shards = f"{{1..{run.shards}}}-of-"
        files = dict.fromkeys(re.sub(r"\b\d+-of-(?=\d+\.h5$)", shards, f) for f in files)
    return " ".join(map(shlex.quote, files))


def config_of_drawing(data):
    """The config as JSON, for a drawing of the jobs that is the same wherever the run is."""
    places = {
        "run": {"data": data, "shards": 1},
        "pathvars": {"results": "results"},
    }
    as_text = json.loads(json.dumps({**config, **places}))  # YAML's keys may be numbers too
    return json.dumps(as_text, sort_keys=True)
