"""Input functions, one for each rule that needs it; `from_config` is what the config names.

Of their files Snakemake is told only those that rules make (`made`); the others' contents are a
param of the job (`stage`), so that another place of the data changes nothing.
"""

import functools
import sys

from seedbed.models.registry import pretrained_file


def made(inputs):
    """Input function: of another one's files, those that rules make."""
    return lambda wildcards: chosen(inputs(wildcards), is_given=False)


def chosen(inputs, *, is_given):
    """The inputs, by name, that are `Given`, or those that are not."""
    found = {}
    for name, paths in inputs.items():
        each = [paths] if isinstance(paths, str) else paths
        kept = [path for path in each if isinstance(path, Given) == is_given]
        if kept:
            found[name] = kept[0] if isinstance(paths, str) else kept
    return found


def needs_pseudo_labels():
    """Whether a round is trained on the pseudo labels, or selects from them."""
    return "pseudo_labels" in SUPERVISION or ("selected" in SUPERVISION and not FIRST_SELECTS)


def makes_pseudo_labels():
    """Whether pseudo labels are made, not read from the user's folder."""
    return needs_pseudo_labels() and block("pseudo_labels").masks is None


def makes_seeds():
    """Whether seeds are made, not read from the user's file."""
    return "seeds" in SUPERVISION and block("seeds").cues is None


def needs_cam():
    """Whether something is made from the class activation maps."""
    return (
        makes_seeds()
        or SUPERVISION[0] == "selected"
        or (makes_pseudo_labels() and block("pseudo_labels").attention != "group")
    )


def needs_saliency():
    """Whether something is made from the saliency maps."""
    return (
        makes_seeds()
        or "selected" in SUPERVISION
        or (makes_pseudo_labels() and block("pseudo_labels").rule == "saliency_guided")
    )


def trainings_made():
    """Keys of the trainings that the run needs, in their order."""
    attention = block("pseudo_labels").attention if makes_pseudo_labels() else None
    made = []
    if attention in ("group", "maximum") and not block("group_cam").maps:
        made.append("group")
    if attention == "random_walk":
        made.append("affinity")
    made += [f"rounds.{number}" for number in range(LAST_ROUND + 1)]
    makes_cam = needs_cam() and not block("cam").maps
    weights = {training.weights for key, training in settings.trainings() if key in made}
    if makes_cam or "classifier" in weights:
        made.insert(0, "classifier")
    return made


def initial_weights(key):
    """Input function: initial weights of the training under a key, if it names some."""

    def inputs(wildcards):
        name = fill(key, wildcards)
        weights = block(name).weights
        if weights is None:
            return {}
        if weights == "classifier":
            return {"initial": "<shared>/classifier/weights.pt"}
        if weights == "previous":
            return {"initial": f"<results>/rounds/{int(wildcards.round) - 1}/weights.pt"}
        return {"initial": published_weights(name)}

    return inputs


def published_weights(key):
    """The file of initial weights that the training under a key names, or stands for."""
    training = block(key)
    pretrained = training.weights == "pretrained"
    file = pretrained_file(training.network) if pretrained else training.weights
    return weights_file(f"{key}.weights", file)


def cam_inputs(wildcards):
    """The classifier, or the user's folder of maps."""
    weights = {"weights": "<shared>/classifier/weights.pt"}
    return given_folder("cam.maps") or weights


def saliency_inputs(wildcards):
    """The user's folder of maps or file of a network, if there is one."""
    if model := block("saliency.model"):
        return {"from_config": given("saliency.model", model)}
    return given_folder("saliency.maps")


def seeds_inputs(wildcards):
    """The maps that the seeds are made from, or the user's file of seeds."""
    if block("seeds").cues:
        return published_cues()
    return {"cams": shards_of("cam"), "saliency": shards_of("saliency")}


def group_cam_inputs(wildcards):
    """The group network and the maps kept in its training, or the user's folder of maps."""
    trained = {
        "weights": "<results>/group/weights.pt",
        "kept": "<results>/group/maps.h5",
    }
    return given_folder("group_cam.maps") or trained


def affinity_scores_inputs(wildcards):
    """The class activation maps of the shard, or the user's folders of scores."""
    if block("affinity_scores").low is None:
        return {"cams": f"<shared>/cam/{wildcards.shard}.h5"}
    keys = ("affinity_scores.low", "affinity_scores.high")
    return {"from_config": [given(key, block(key), folder=True) for key in keys]}


def pseudo_labels_inputs(wildcards):
    """Attention of one network or two, and saliency if the rule uses it; or the user's masks."""
    if masks := given_folder("pseudo_labels.masks"):
        return masks
    labels = block("pseudo_labels")
    maps = {
        "group": shards_of("group/cam"),
        "cam": shards_of("cam"),
        "random_walk": shards_of("affinity/cam"),
    }
    guided = labels.rule == "saliency_guided"
    saliency = {"saliency": shards_of("saliency")} if guided else {}
    if labels.attention == "maximum":
        return {"attention": maps["group"], "second_attention": maps["cam"], **saliency}
    return {"attention": maps[labels.attention], **saliency}


def targets_inputs(wildcards):
    """What the targets of a round are made from, as its `supervise` says."""
    number = int(wildcards.round)
    supervise = SUPERVISION[number]
    if supervise == "given":
        return {"from_config": given_masks(f"rounds.{number}")}
    if supervise == "pseudo_labels":
        return {"masks": "<results>/pseudo_labels.h5"}
    if supervise == "ground_truth":
        return {"masks": "<shared>/dataset/masks.h5"}
    refined = {"refined": shards_of(f"rounds/{number - 1}/masks/train")}
    if supervise == "predictions":
        return refined
    saliency = {"saliency": shards_of("saliency")}
    if number == 0:
        return {"attention": shards_of("cam"), **saliency}
    first = "rounds/0/targets.h5" if FIRST_SELECTS else "pseudo_labels.h5"
    predictions = {"predictions": shards_of(f"rounds/{number - 1}/predictions/train")}
    return {"masks": f"<results>/{first}", **predictions, **refined, **saliency}


def train_inputs(wildcards):
    """The seeds, or the round's targets."""
    if block(f"rounds.{wildcards.round}").method == "dsrg":
        return {"cues": "<results>/seeds/cues.h5"}
    return {"targets": "<results>/rounds/{round}/targets.h5"}


def masks_inputs(wildcards):
    """The last round's masks of the split that is evaluated, or the user's folder of masks."""
    scored = block("evaluate")
    if scored.masks:
        return {"given": given("evaluate.masks", scored.masks, folder=True)}
    return {"refined": shards_of(f"rounds/{LAST_ROUND}/masks/{scored.split}")}


def audit_inputs(wildcards):
    """Every artefact of the recipe that holds masks or is made into some."""
    for key, layout in block("convert").layouts.items():
        if not layout.has_masks:
            sys.exit(
                f"convert.{key}.masks: without masks nothing can be scored; name their folder, or "
                f"ask for {RESULTS}/masks.h5 alone"
            )
    steps = {
        "predictions": of_all_rounds("predictions"),
        "refined": of_all_rounds("masks"),
        "targets": [
            f"<results>/rounds/{number}/targets.h5"
            for number, supervise in enumerate(SUPERVISION)
            if supervise != "seeds"
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


def of_all_rounds(artefact):
    """All shards of the predictions or masks of every round, of train and of val."""
    return [
        path
        for number in range(LAST_ROUND + 1)
        for split in ("train", "val")
        for path in shards_of(f"rounds/{number}/{artefact}/{split}")
    ]


def report_inputs(wildcards):
    """What the page shows beside all that is audited: further maps, and the trainings' logs."""
    attention = block("pseudo_labels").attention if makes_pseudo_labels() else None
    maps = {}
    if attention in ("group", "maximum"):
        maps["group_cams"] = shards_of("group/cam")
    if attention == "random_walk":
        maps["walks"] = shards_of("affinity/cam")
    homes = {"classifier": "shared"}
    logs = [
        f"<{homes.get(key, 'results')}>/{key.replace('.', '/')}/log.tsv" for key in trainings_made()
    ]
    return {**maps, "logs": logs}


@functools.cache
def exports():
    """What can be written in others' formats: what the stage calls it, its files."""
    artefacts = {
        "cam": ("cam", shards_of("cam")),
        "affinity_low": ("affinity_low", shards_of("affinity/scores")),
        "affinity_high": ("affinity_high", shards_of("affinity/scores")),
        "saliency": ("saliency", shards_of("saliency")),
        "attention": ("attention", shards_of("group/cam")),
        "pseudo_labels": ("masks", "<results>/pseudo_labels.h5"),
    }
    masks = {"pseudo_labels": "<results>/pseudo_labels.h5"}
    for number, supervise in enumerate(SUPERVISION):
        for split in ("train", "val", "test"):
            files = shards_of(f"rounds/{number}/masks/{split}")
            artefacts[f"masks-{number}-{split}"] = ("masks", files)
            masks[f"{number}-{split}"] = files
        if supervise == "selected":
            files = f"<results>/rounds/{number}/targets.h5"
            artefacts[f"selected-{number}"] = ("selected", files)
    for tool in ("coco", "labelme"):  # to correct masks; by itself of the last round's train images
        artefacts |= {f"{tool}-{name}": (tool, files) for name, files in masks.items()}
        artefacts[tool] = (tool, masks[f"{LAST_ROUND}-train"])
    return artefacts


def export_inputs(wildcards):
    """The files of the artefact that is exported."""
    return {"maps": exports()[wildcards.what][1]}
