"""Input functions: which files a rule reads under the settings at hand."""

import os
import re
import sys


def initial_weights(name, block, number=0):
    """Input `initial` of a training: its weights, if it names some."""
    if block.weights is None:
        return {}
    if block.weights == "classifier":
        return {"initial": "<results>/classifier/weights.pt"}
    if block.weights == "previous":
        return {"initial": f"<results>/rounds/{number - 1}/weights.pt"}
    return {"initial": weights_file(name, block)}


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
