"""What the config names in the data folder: it is there, or a rule fetches it."""

import os
import re
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import IncompleteCheckpointException

from seedbed.data.layouts import augmented
from stages.settings.sources import FILE, load_sources

# The rule `jobs` draws the same picture whatever is in the data folder.
DRAWING = "SEEDBED_DRAWING" in os.environ


class Given(str):
    """Path of what the user gives: its content counts, not where it lies."""


def data_path(relative):
    """Path of something in the data folder (an absolute path stays as it is)."""
    return os.path.normpath(os.path.join(DATA, relative))


def is_missing(source):
    """Whether a source is not in the data folder."""
    return not os.path.exists(data_path(source.path))


def find_lacking():
    """What the config names, can be fetched, and is not there."""
    return [source for source in SOURCES.needed(settings) if is_missing(source)]


try:
    SOURCES = load_sources(ROOT / FILE)
except UserError as error:
    sys.exit(str(error))
# Rules fetch these. Files that are there already get no rule, and the fetch rules declare only
# hidden stamps, so that Snakemake never deletes the user's data.
FETCHED = find_lacking() if run.fetch == "auto" and not DRAWING else []
if workflow.is_main_process:
    for source in FETCHED:
        Path(data_path(source.stamp)).unlink(missing_ok=True)  # of what was removed since


def await_source(relative):
    """Have the job planned anew once what it reads is fetched; from then on it is as any other.

    Raises Snakemake's exception if a rule has yet to fetch it.
    """
    source = SOURCES.providing(os.path.normpath(relative))
    if source in FETCHED and is_missing(source):
        getattr(checkpoints, f"fetch_{source.rule_name}").get()


def awaited(paths):
    """Of several paths, the stamps of those that rules have yet to fetch, side by side."""
    stamps = []
    for relative in paths:
        try:
            await_source(relative)
        except IncompleteCheckpointException as error:
            stamps.append(error.targetfile)
    return stamps


def given(key, relative, *, folder=False):
    """Path of a file or folder in the data folder that a key of the config names.

    Ends the run in one line if it is not there and no rule fetches it.
    """
    path = data_path(relative)
    if DRAWING:
        return Given(path)
    await_source(relative)
    remedy = f"put it there, or change {key} in the config"
    if not os.path.exists(path):
        refuse_missing(relative)
        sys.exit(f"{path}: does not exist; {remedy}")
    if os.path.isdir(path) != folder:
        found, wanted = ("a file", "a folder") if folder else ("a folder", "a file")
        sys.exit(f"{path}: is {found}, and {key} names {wanted}; {remedy}")
    return Given(path)


def refuse_missing(relative):
    """End the run in one line if what is missing can be fetched and the user is to be asked."""
    source = SOURCES.providing(os.path.normpath(relative))
    if run.fetch != "ask" or source is None or not is_missing(source):
        return
    lacking = find_lacking()
    paths = ["--path", *(one.path for one in lacking)]
    data = [] if DATA == "data" else ["--data", DATA]
    command = shlex.join(["python", "-m", "stages.fetch", *paths, *data])
    wanted = "; ".join(one.describe() for one in lacking)
    sys.exit(
        f"{data_path(relative)}: does not exist; of what can be fetched {DATA} lacks: {wanted}; get"
        f" it with {command}, or with --config 'run={{fetch: auto}}', or put it there"
    )


def weights_file(key, relative):
    """The file of a network's published weights; TensorFlow's are three, of which the index."""
    index = data_path(f"{relative}.index")
    if os.path.exists(index):
        return Given(index)
    path = given(key, relative)
    if not DRAWING and os.path.getsize(path) == 0:
        sys.exit(f"{path}: is empty; get it again, or change {key} in the config")
    return path


def given_folder(key):
    """The folder that a key of the config names, as an input of its own; nothing if it is null."""
    folder = block(key)
    return {"from_config": given(key, folder, folder=True)} if folder else {}


def published_cues():
    """DSRG's cue file that the config names, and the list that numbers its images."""
    seeds = block("seeds")
    if not (seeds.cue_list or DRAWING) and makes_train_list(block("convert")):
        sys.exit(
            "seeds.cue_list: is needed, as the devkit has no train_aug.txt that could number the"
            " images of seeds.cues; name the list that belongs to the cues"
        )
    files = {"cue_pickle": given("seeds.cues", seeds.cues)}
    if seeds.cue_list:
        files["cue_list"] = given("seeds.cue_list", seeds.cue_list)
    return files


def convert_inputs(wildcards):
    """The lists of images, and where the image-level labels are read from."""
    data_set = block("convert")
    if not data_set.layouts and (stamps := awaited(devkit_paths(data_set))):
        return {"from_config": stamps}
    files = [file for item in data_set.layouts.items() for file in layout_files(*item)]
    cues = published_cues() if data_set.label_source == "cues" else {}
    files = files or [*devkit_lists(data_set), *label_files(data_set)]
    colours = data_set.mask_colours
    if isinstance(colours, str):
        files.append(given("convert.mask_colours", colours))
    files += [Given(p) for p in map(data_path, data_set.labelmaps) if os.path.isfile(p)]
    return {"from_config": files, **cues}


def layout_files(key, layout):
    """The files that a layout names, or else its folders; all of them must be there."""
    files, folders = [], []
    for name, path in layout:
        if path:
            kind, is_folder = (files, False) if name in layout.files else (folders, True)
            kind.append(given(f"convert.{key}.{name}", path, folder=is_folder))
    return files or folders


def devkit_paths(data_set):
    """The paths of the devkit, of SBD and of a label file; none if a rule makes them up."""
    if is_mini(data_set):
        return []
    labels = data_set.label_files
    if any(os.path.exists(data_path(path)) for path in labels):
        labels = []
    return list(filter(None, [data_set.devkit, data_set.sbd, *labels[:1]]))


def devkit_lists(data_set):
    """The lists of a VOC devkit, and SBD's where train_aug is made of them.

    Only those of a synthetic data set need not be there yet.
    """
    names = [data_set.train_list, data_set.val_list, *filter(None, [data_set.test_list])]
    if DRAWING and not is_mini(data_set):
        return []
    for part in devkit_paths(data_set):
        if not os.path.exists(data_path(part)):
            refuse_missing(part)
    made = MINI_LISTS if is_mini(data_set) else []
    lists = {name: list_file(str(list_folder(data_set) / name)) for name in names}
    if makes_train_list(data_set):
        del lists[data_set.train_list]
        sbd = Path(data_path(data_set.sbd))
        made_of = augmented.source_lists(list_folder(data_set), sbd).values()
        lists |= {str(path): str(path) for path in made_of}
    for name, path in lists.items():
        if name not in made and not os.path.exists(path):
            sys.exit(f"{path}: no such list; put the devkit there, or set convert and run.data")
    paths = {path: path if name in made else Given(path) for name, path in lists.items()}
    return list(paths.values())


def list_file(path):
    """The file of a list, given without its suffix, which may be in capitals."""
    return f"{path}.TXT" if os.path.exists(f"{path}.TXT") else f"{path}.txt"


def is_mini(data_set):
    """Whether the data set is one that the rule mini_dataset makes."""
    return re.fullmatch(r"mini-\d+/VOCdevkit/VOC2012", data_set.devkit) is not None


def made_up_by():
    """Param of convert that says how its data set is made up; none for others.

    Other settings or code change the images, but not the lists, which Snakemake compares; and
    another run may have remade the data set before this one.
    """
    if not is_mini(settings.convert):
        return {}
    digest = lambda wildcards: code_digest("stages.mini_dataset")
    return {"made_up": settings_json("mini_dataset"), "made_up_code": digest}


def list_folder(data_set):
    """The folder of a devkit's lists."""
    return Path(data_path(data_set.devkit), "ImageSets", "Segmentation")


def makes_train_list(data_set):
    """Whether the train list is made of VOC's and SBD's, as the devkit has none."""
    if data_set.layouts or data_set.sbd is None or is_mini(data_set):
        return False
    parts = (data_set.devkit, data_set.sbd)
    if not all(os.path.exists(data_path(part)) for part in parts):
        return False
    return augmented.is_made(list_folder(data_set), data_set.train_list)


def label_files(data_set):
    """The label file of a published system, if it is there; the stage says if it is not."""
    return [Given(path) for path in map(data_path, data_set.label_files) if os.path.exists(path)]


def given_masks(key):
    """The user's folder of masks of a round, and their list."""
    masks, listed = block(f"{key}.masks"), block(f"{key}.mask_list")
    lists = [given(f"{key}.mask_list", listed)] if listed else []
    return [given(f"{key}.masks", masks, folder=True), *lists]
