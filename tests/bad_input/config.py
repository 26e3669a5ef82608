"""Configs that are refused before the first job."""

import os
import sys

import pytest

from stages.fetch import fetch
from tests.bad_input.case import Bad, case
from tests.support import fake_timm
from tests.support.workflow_helpers import CONFIG, copy_project, snakemake, write_artefact

SEEDS = {"supervise": "seeds", "method": "dsrg"}
TRUTH = {"supervise": "ground_truth"}


@case("an unknown key")
def _(bad: Bad) -> str:
    line = bad.config(seeds={"gird": 41})
    assert bad.dry_run(seeds={"gird": 41}) == line
    return line


@case("a key twice in a config file")
def _(bad: Bad) -> str:
    twice = bad.root / "twice.yaml"
    twice.write_text("seeds: {grid: 16}\nevaluate: {split: val}\nseeds: {fusion: average}\n")
    return bad.dry_run(files=("config.yaml", str(twice)))


@case("a config file that is a pipe, beside other files or `--config`")
def _(bad: Bad) -> str:
    reading, writing = os.pipe()
    os.write(writing, b'{"seeds": {"grid": 16}}')
    os.close(writing)
    return bad.dry_run(files=("config.yaml", f"/dev/fd/{reading}"))


@case("a config file that is a list or text, given to `stages.fetch`")
def _(bad: Bad) -> str:
    (bad.root / "mine.yaml").write_text("- seeds\n")
    return bad.refused(fetch, "--recipe", bad.root / "mine.yaml")


@case("a value of another type")
def _(bad: Bad) -> str:
    assert "seeds.grid: Input should be a valid integer" in bad.config(seeds={"grid": [41]})
    return bad.config(seeds={"grid": "wide"})


@case("`on`, `yes` or `true` for a number")
def _(bad: Bad) -> str:
    return bad.config(rounds=[{"supervise": "selected", "selection": {"threshold": True}}])


@case("a threshold of 1.2")
def _(bad: Bad) -> str:
    return bad.config(rounds=[{"supervise": "selected", "selection": {"threshold": 1.2}}])


@case("a number that is not finite: .nan or .inf")
def _(bad: Bad) -> str:
    assert "training.learning_rate" in bad.config(training={"learning_rate": float("inf")})
    return bad.config(training={"learning_rate": float("nan")})


@case("an empty block, or an empty list of rounds")
def _(bad: Bad) -> str:
    assert bad.config(seeds=None).startswith("config: seeds: ")
    return bad.config(rounds=[])


@case("an empty list of scales or of classes")
def _(bad: Bad) -> str:
    assert bad.config(convert={"classes": []}).startswith("config: convert.classes: ")
    return bad.config(cam={"scales": []})


@case("a class twice")
def _(bad: Bad) -> str:
    return bad.config(convert={"classes": ["cat", "cat"]})


@case("a class that is neither a name nor a whole number")
def _(bad: Bad) -> str:
    assert "convert.classes.0: Input should be a valid string" in bad.config(
        convert={"classes": [1.5]}
    )
    return bad.config(convert={"classes": [True, "cat"]})


@case("one list for two splits")
def _(bad: Bad) -> str:
    return bad.config(convert={"train_list": "val"})


@case("bounds in the wrong order")
def _(bad: Bad) -> str:
    long_side = {"kind": "crop", "long_side": [512, 256]}
    assert "training.view.long_side: " in bad.config(training={"view": long_side})
    reversed_clip = {**SEEDS, "dsrg": {"constraint_clip": [20, 0.05]}}
    assert "dsrg.constraint_clip: the lower bound" in bad.config(rounds=[reversed_clip])
    return bad.config(training={"view": {"scale": [1.5, 0.5]}})


@case("a scale in per cent")
def _(bad: Bad) -> str:
    line = bad.config(training={"view": {"scale": [50, 150]}})
    assert line.startswith("config: training.view.scale.0: ")
    return bad.config(predict={"scales": [100]})


@case("milestones out of order, or none")
def _(bad: Bad) -> str:
    assert "classifier.schedule.milestones: has no default" in bad.config(
        classifier={"schedule": {"kind": "multi_step"}}
    )
    milestones = {"kind": "multi_step", "milestones": [200, 100]}
    return bad.config(classifier={"schedule": milestones})


@case("an unknown kind of schedule, optimizer or view")
def _(bad: Bad) -> str:
    assert "group.view.kind: 'squash' is not one of" in bad.config(
        group={"view": {"kind": "squash"}}
    )
    return bad.config(training={"optimizer": {"kind": "adam"}})


@case("a key of another kind of schedule, optimizer or view")
def _(bad: Bad) -> str:
    assert "group.view.long_side: kind warp has no" in bad.config(
        group={"view": {"long_side": [1, 2]}}
    )
    return bad.config(training={"schedule": {"kind": "poly", "every": 100}})


@case("a training without network, iterations, batch, crop or learning rate")
def _(bad: Bad) -> str:
    line = bad.config(affinity={"seed": 1})
    assert "affinity.network: has no default and must be given; affinity.iterations: " in line
    return bad.config(only={"rounds": [{**TRUTH, "network": "tiny_seg"}]})


@case("a block that a job needs is missing")
def _(bad: Bad) -> str:
    line = bad.asked("block", "group", group=None)
    assert bad.dry_run(group=None) == line
    return line


@case("an overlay without the config that it lies over")
def _(bad: Bad) -> str:
    return bad.dry_run(["recipes/ceiling.yaml"])


@case("a learning rate factor above 1, or not positive")
def _(bad: Bad) -> str:
    assert "classifier.multipliers.2: " in bad.config(classifier={"multipliers": [1, 2, -1, 2]})
    return bad.config(classifier={"schedule": {"kind": "step", "every": 9, "factor": 10}})


@case("a CRF kernel of almost zero width")
def _(bad: Bad) -> str:
    return bad.config(crf={"bilateral_srgb": 0.01})


@case("a CRF stride that leaves pixels without a neighbour that sends, or for pydensecrf")
def _(bad: Bad) -> str:
    line = bad.config(crf={"stride": 2, "backend": "pydensecrf"})
    assert "crf.stride: the backend pydensecrf has none; set it to 1" in line
    return bad.config(crf={"stride": 2, "gaussian_sxy": 1})


@case("a crop that is too small for the network, or not a multiple of AffinityNet's stride")
def _(bad: Bad) -> str:
    brief = {"network": "vgg16_affinity", "iterations": 1, "batch": 1, "learning_rate": 0.1}
    line = bad.config(affinity={**brief, "crop": 100})
    assert "affinity.crop: must be a multiple of 8 for vgg16_affinity" in line
    assert "needs 72 or more, not 64" in bad.config(affinity={**brief, "crop": 64})
    return bad.config(group={"crop": 24})


@case("a loss stride that leaves no pixel")
def _(bad: Bad) -> str:
    return bad.config(rounds=[{**TRUTH, "loss_stride": 129}])


@case("labels at every n-th pixel of a crop whose last pixel is not among them")
def _(bad: Bad) -> str:
    sampling = {"crop": 192, "loss_stride": 8, "label_sampling": "corner_aligned"}
    return bad.config(rounds=[{**TRUTH, **sampling}])


@case("a round that starts from the round before, with other options of its backbone")
def _(bad: Bad) -> str:
    first = {**TRUTH, "network": "vgg16_aspp", "weights": None, "options": {"padding": "tf"}}
    second = {**first, "weights": "previous", "options": {}}
    return bad.config(rounds=[first, second])


@case("a CRF on pseudo labels whose rule has none")
def _(bad: Bad) -> str:
    return bad.config(pseudo_labels={"rule": "saliency_guided", "crf": {}})


@case("group mining on parts of images, whose maps are kept as those of whole images")
def _(bad: Bad) -> str:
    zoomed = {"kind": "warp", "scale": [0.8, 1.25]}
    assert "group.view: the maps that are kept" in bad.config(group={"view": zoomed})
    return bad.config(group={"view": {"kind": "crop"}})


@case("an accumulation that does not divide the batch")
def _(bad: Bad) -> str:
    return bad.config(training={"batch": 16, "accumulation": 3})


@case("processes that do not divide the batch")
def _(bad: Bad) -> str:
    return bad.config(run={"training_processes": 3})


@case("an unknown network name, or a network of another kind")
def _(bad: Bad) -> str:
    assert "tiny_cls is not one of tiny_seg, " in bad.config(training={"network": "tiny_cls"})
    return bad.config(group={"network": "tniy_group"})


@case("an option that the network does not have, or a value of another type")
def _(bad: Bad) -> str:
    assert bad.config(training={"options": {"width": -1}}).startswith(
        "config: training.options.width: "
    )
    assert "training.options.wdth: unknown key" in bad.config(training={"options": {"wdth": 8}})
    line = bad.config(classifier={"options": {"output_stride": 16}})
    assert "options.output_stride: of tiny_cls it is one of 4, 8" in line
    return bad.config(classifier={"options": {"checkpointing": True}})


@case("a first round on predictions")
def _(bad: Bad) -> str:
    return bad.config(rounds=[{"supervise": "predictions"}])


@case("a round of `selected` after one whose CRF is not restricted to the tags")
def _(bad: Bad) -> str:
    free = {"crf": {"restrict_to_tags": False}}
    return bad.config(rounds=[{**SEEDS, **free}, {"supervise": "selected", **free}])


@case("`previous` in the first round")
def _(bad: Bad) -> str:
    assert "group.weights: previous needs a round" in bad.config(group={"weights": "previous"})
    assert "there is no classifier before" in bad.config(classifier={"weights": "classifier"})
    return bad.config(rounds=[{**SEEDS, "weights": "previous"}])


@case("`pretrained` weights of a network that is not timm's, or without the tag that says which")
def _(bad: Bad) -> str:
    assert "not tiny_cls; name a file instead" in bad.config(classifier={"weights": "pretrained"})
    return bad.config(classifier={"network": "timm:resnet50/cls", "weights": "pretrained"})


def checked(bad: Bad, name: str, *, installed: bool = True, **options: object) -> str:
    """What a dry run says of a classifier of timm, of which a stand-in is installed."""
    network = {"network": name, "options": options}
    brief = {"iterations": 1, "batch": 1, "accumulation": 1, "crop": 64, "learning_rate": 0.1}
    classifier = {**brief, **network}
    with pytest.MonkeyPatch.context() as patch:
        fake_timm.install(patch)
        if not installed:
            patch.setitem(sys.modules, "timm", None)
        return bad.asked(
            "check_timm", classifier=classifier, group={"weights": None}, training={"weights": None}
        )


@case("a network of timm where timm is not installed")
def _(bad: Bad) -> str:
    return checked(bad, "timm:resnet50/cls", installed=False)


@case("a network that timm does not have")
def _(bad: Bad) -> str:
    return checked(bad, "timm:patchs/cls")


@case("an output stride that a network of timm cannot have")
def _(bad: Bad) -> str:
    return checked(bad, "timm:tokens/cls", output_stride=8)


@case("a network of timm for images of one size only")
def _(bad: Bad) -> str:
    return checked(bad, "timm:one_size/cls")


@case("low-level features of a network of timm that has none")
def _(bad: Bad) -> str:
    network = {"network": "timm:tokens/seg", "weights": None, "options": {"skip": True}}
    with pytest.MonkeyPatch.context() as patch:
        fake_timm.install(patch)
        return bad.asked("check_timm", training=network)


@case("weights of the run's own network with another backbone")
def _(bad: Bad) -> str:
    other = {"network": "vgg16_aspp", "weights": "previous"}
    line = bad.config(rounds=[SEEDS, {**TRUTH, **other}])
    assert "rounds.1.weights: previous is a tiny_seg and cannot initialise a vgg16_aspp" in line
    return bad.config(training={"network": "vgg16_aspp"})


@case("seeds without DSRG, or DSRG without seeds")
def _(bad: Bad) -> str:
    line = bad.config(rounds=[{"supervise": "seeds"}])
    assert bad.config(rounds=[{**TRUTH, "method": "dsrg"}]) == line
    return line


@case("a key that requires another key, without it")
def _(bad: Bad) -> str:
    line = bad.config(rounds=[{**TRUTH, "mask_list": "a.txt"}])
    assert "rounds.0.mask_list: is used only with masks" in line
    assert "give both low and high" in bad.config(affinity_scores={"low": "low"})
    assert "cues needs seeds.cues" in bad.config(convert={"label_source": "cues"})
    return bad.config(seeds={"cue_list": "input_list.txt"})


@case("evaluation on val, but the data have no val images")
def _(bad: Bad) -> str:
    coco = {"instances": "a.json", "images": "a"}
    line = bad.config(convert={"coco": coco})
    assert "there are no val images without convert.coco.val_instances" in line
    return bad.config(convert={"folder": {"images": "a", "labels": "a.csv"}})


@case("a round on the ground truth, but the data have no masks")
def _(bad: Bad) -> str:
    folder = {"folder": {"images": "a", "labels": "a.csv"}}
    return bad.config(convert=folder, evaluate={"split": "train"}, rounds=[TRUTH])


@case("a path with a quote, a brace or a line break, or an empty one")
def _(bad: Bad) -> str:
    for path in ("{data}", "a\nb", " "):
        assert bad.config(run={"data": path}).startswith("config: run.data: ")
    return bad.config(run={"data": "it's"})


@case("an unknown name among the pathvars")
def _(bad: Bad) -> str:
    return bad.config(pathvars={"result": "results/mine"})


@case("saliency maps and a network to compute them")
def _(bad: Bad) -> str:
    return bad.config(saliency={"maps": "salient", "model": "weights/u2net.onnx"})


@case("another setting of what several recipes share")
def _(bad: Bad) -> str:
    project = copy_project(bad.root, CONFIG)
    write_artefact(project, "results/classifier/weights.pt", {"network": "tiny_cls"})
    bad.project = lambda: project
    folders = {"results": "{results}-b", "shared": "{results}"}
    return bad.dry_run(pathvars=folders)


@case("a folder of the project with a colon in its path")
def _(bad: Bad) -> str:
    bad.when.add("dry run")
    status, messages = snakemake(copy_project(bad.root / "a:b", CONFIG), "--dry-run")
    assert status == 1
    return messages.splitlines()[-1]
