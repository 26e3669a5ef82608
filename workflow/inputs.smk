"""Input functions: which files a rule reads under the settings at hand."""

import os
import re
import sys


def needs_pseudo_labels():
    """Whether a round is trained on the pseudo labels, or selects from them."""
    selects = "selected" in SUPERVISION and not BEGINS_SELECTED
    return selects or "pseudo_labels" in SUPERVISION


def computes_pseudo_labels():
    """Whether the pseudo labels are needed and not given."""
    return needs_pseudo_labels() and block("pseudo_labels").masks is None


def computes_seeds():
    """Whether the seeds are needed and not given."""
    return "seeds" in SUPERVISION and block("seeds").cues is None


def needs_cam():
    """Whether something is made from the class activation maps."""
    return (
        computes_seeds()
        or SUPERVISION[0] == "selected"
        or (computes_pseudo_labels() and block("pseudo_labels").attention != "group")
    )


def needs_saliency():
    """Whether something is made from the saliency maps."""
    return (
        computes_seeds()
        or "selected" in SUPERVISION
        or (
            computes_pseudo_labels()
            and block("pseudo_labels").rule == "saliency_guided"
        )
    )


def initial_weights(key):
    """Input function of the training under a key: its initial weights, if it names some."""
    return lambda wildcards: _initial_weights(of_job(key, wildcards))


def _initial_weights(key):
    weights = block(key).weights
    if weights is None:
        return {}
    if weights == "classifier":
        return {"initial": "<results>/classifier/weights.pt"}
    if weights == "previous":
        number = int(key.removeprefix("rounds."))
        return {"initial": f"<results>/rounds/{number - 1}/weights.pt"}
    return {"initial": weights_file(f"{key}.weights", weights)}


def convert_inputs(wildcards):
    """The files that say which images there are and what is on them."""
    layout = block("convert")
    if layout.folder:
        table = given("convert.folder.labels", layout.folder.labels)
        for key in ("images", "masks"):
            if path := getattr(layout.folder, key):
                given(f"convert.folder.{key}", path, folder=True)
        return [table]
    if layout.coco:
        files = filter(None, [layout.coco.instances, layout.coco.val_instances])
        found = [given("convert.coco", path) for path in files]
        for path in filter(None, [layout.coco.images, layout.coco.val_images]):
            given("convert.coco", path, folder=True)
        return found
    return devkit_lists(layout)


def devkit_lists(layout):
    """The devkit's lists; one line says what is missing when nothing can make it."""
    names = [layout.train_list, layout.val_list, *filter(None, [layout.test_list])]
    is_mini = re.fullmatch(r"mini-\d+/VOCdevkit/VOC2012", layout.devkit)
    made = MINI_LISTS if is_mini else []
    folder = os.path.join(data_path(layout.devkit), "ImageSets", "Segmentation")
    lists = {name: os.path.join(folder, f"{name}.txt") for name in names}
    for name, path in lists.items():
        if name not in made and not os.path.exists(path):
            sys.exit(
                f"{path}: no such list; put the devkit there, or set convert and run.data"
            )
    return list(lists.values())


def published_cues():
    """The cue file that the config names, and its list."""
    seeds = block("seeds")
    files = {"cue_pickle": given("seeds.cues", seeds.cues)}
    if seeds.cue_list:
        files["cue_list"] = given("seeds.cue_list", seeds.cue_list)
    return files


def label_inputs(wildcards):
    """Where the image-level labels are read from, if the devkit does not hold them."""
    return published_cues() if block("convert").label_source == "cues" else {}


def seed_inputs(wildcards):
    """What the cues are made from, or the file that already holds them."""
    if block("seeds").cues:
        return published_cues()
    return {"cams": shards_of("cam"), "saliency": shards_of("saliency")}


def cam_inputs(wildcards):
    """The classifier, or the folder of the maps that stand in for its own."""
    if maps := block("cam").maps:
        return {"given": given("cam.maps", maps, folder=True)}
    return {"weights": "<results>/classifier/weights.pt"}


def saliency_inputs(wildcards):
    """The folder of given maps, if there is one."""
    maps = block("saliency").maps
    return {"given": given("saliency.maps", maps, folder=True)} if maps else {}


def group_cam_inputs(wildcards):
    """The group network and what it kept, or the folder of maps that stand in for it."""
    if maps := block("group_cam").maps:
        return {"given": given("group_cam.maps", maps, folder=True)}
    return {"weights": "<results>/group/weights.pt", "kept": "<results>/group/maps.h5"}


def affinity_score_inputs(wildcards):
    """The maps that the scores are made from, or the folders that hold the scores."""
    scores = block("affinity_scores")
    if scores.low is None:
        return {"cams": f"<results>/cam/{wildcards.shard}.h5"}
    folders = {"low": scores.low, "high": scores.high}
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
        item, key = block(f"rounds.{number}"), f"rounds.{number}.mask"
        lists = [given(f"{key}_list", item.mask_list)] if item.mask_list else []
        return {"given": [given(f"{key}s", item.masks, folder=True), *lists]}
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
    key = f"rounds.{number}"
    initial = _initial_weights(key)
    if block(key).method == "dsrg":
        return {"cues": "<results>/seeds/cues.h5", **initial}
    return {"targets": f"<results>/rounds/{number}/targets.h5", **initial}


def pseudo_label_inputs(wildcards):
    """Attention maps of the network or networks that the settings name, and saliency."""
    labels = block("pseudo_labels")
    if labels.masks:
        return {"given": given("pseudo_labels.masks", labels.masks, folder=True)}
    maps = {
        "group": shards_of("group/cam"),
        "cam": shards_of("cam"),
        "random_walk": shards_of("affinity/cam"),
    }
    saliency = {"saliency": shards_of("saliency")}
    files = saliency if labels.rule == "saliency_guided" else {}
    if labels.attention == "maximum":
        return {"attention": maps["group"], "second_attention": maps["cam"], **files}
    return {"attention": maps[labels.attention], **files}


def mask_inputs(wildcards):
    """The last round's masks of the split that is scored, or the folder that stands in."""
    scored = block("evaluate")
    if scored.masks:
        return {"given": given("evaluate.masks", scored.masks, folder=True)}
    return {"refined": shards_of(f"rounds/{LAST_ROUND}/masks/{scored.split}")}


def audited(wildcards):
    """Every artefact of the recipe that holds or makes masks; there is a truth to score it by."""
    layout = block("convert").folder
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
    if needs_cam():
        steps["cams"] = shards_of("cam")
    if needs_saliency():
        steps["saliency"] = shards_of("saliency")
    if "seeds" in SUPERVISION:
        steps["cues"] = "<results>/seeds/cues.h5"
    if needs_pseudo_labels():
        steps["pseudo_labels"] = "<results>/pseudo_labels.h5"
    return steps


def report_inputs(wildcards):
    """What the page shows beside all that is scored: further maps, and the trainings' logs."""
    uses = block("pseudo_labels").attention if computes_pseudo_labels() else None
    trained = ["classifier"] if needs_cam() and not block("cam").maps else []
    shown = {}
    if uses in ("group", "maximum"):
        shown["group_cams"] = shards_of("group/cam")
        trained += [] if block("group_cam").maps else ["group"]
    if uses == "random_walk":
        shown["walks"] = shards_of("affinity/cam")
        trained.append("affinity")
    trained += [f"rounds/{n}" for n in range(LAST_ROUND + 1)]
    return {**shown, "logs": [f"<results>/{name}/log.tsv" for name in trained]}
