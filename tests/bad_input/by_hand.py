"""Stages called by hand without an input that they need, or with another one."""

import json

from seedbed.models import build
from seedbed.models.weights import save_network
from stages.audit import audit
from stages.cam import cam
from stages.compare import compare
from stages.pseudo_labels import pseudo_labels
from stages.seeds import seeds
from stages.targets import targets
from stages.train_round import train_round
from stages.voc_subset import voc_subset
from tests.bad_input.case import Bad, case


def arguments(bad: Bad, *names: str, **settings: object) -> list[object]:
    """The index, the settings, and outputs by the names of their options."""
    outputs = [part for name in names for part in (f"--{name}", bad.root / name)]
    return ["--index", bad.make_index(), "--params", json.dumps(settings), *outputs]


@case("a target stage without the masks or maps that `supervise` asks for")
def _(bad: Bad) -> str:
    given = arguments(bad, "output", "folder", "selection", supervise="ground_truth")
    return bad.refused(targets, *given, "--round", 0)


@case("cues without maps or a file of cues")
def _(bad: Bad) -> str:
    return bad.refused(seeds, *arguments(bad, "cues", "pickle", "preview"))


@case("a list of cues without the file of cues")
def _(bad: Bad) -> str:
    given = arguments(bad, "cues", "pickle", "preview")
    return bad.refused(seeds, *given, "--cue-list", bad.root / "input_list.txt")


@case("one map file for the maximum of two")
def _(bad: Bad) -> str:
    given = arguments(bad, "output", "folder", "summary", attention="maximum")
    return bad.refused(pseudo_labels, *given, "--attention", bad.root / "cam.h5")


@case("a round's training without targets")
def _(bad: Bad) -> str:
    training = {"iterations": 1, "batch": 1, "crop": 32, "learning_rate": 0.01}
    settings = {"supervise": "predictions", "network": "tiny_seg", **training}
    return bad.refused(train_round, *arguments(bad, "weights", "log", **settings))


@case("a network of another kind")
def _(bad: Bad) -> str:
    weights = bad.root / "weights.pt"
    save_network(weights, build("tiny_seg", 3), "tiny_seg", 3, {}, ["background", "cat", "dog"])
    given = arguments(bad, "output")
    return bad.refused(cam, *given, "--shard", "1-of-1", "--weights", weights)


@case("an audit of no step")
def _(bad: Bad) -> str:
    return bad.refused(audit, *arguments(bad, "output", "truth"), "--crf", "{}")


@case("settings that are not JSON")
def _(bad: Bad) -> str:
    return bad.refused(audit, *arguments(bad, "output", "truth"), "--crf", "iterations: 5")


def subset(bad: Bad, *options: object) -> str:
    """The line that making a subset of a devkit and of an empty SBD ends with."""
    bad.make_devkit()
    (bad.data / "benchmark_RELEASE/dataset/cls").mkdir(parents=True)
    for name in ("train_aug", "val"):
        (bad.root / f"{name}.txt").write_bytes(bad.listing(name).read_bytes())
    return bad.refused(voc_subset, "--data", bad.data, "--lists", bad.root, *options)


@case("an image of the subset of VOC without a mask")
def _(bad: Bad) -> str:
    return subset(bad)


@case("a subset of VOC where there is a folder already")
def _(bad: Bad) -> str:
    (bad.data / "mine").mkdir(parents=True)
    return subset(bad, "--output", "mine")


@case("a ceiling without a score on val")
def _(bad: Bad) -> str:
    (bad.root / "run").mkdir()
    (bad.root / "run/quality.tsv").write_text("list\tround\tstep\timages\tmiou\n")
    return bad.refused(compare, "--runs", bad.root / "run", "--ceiling", bad.root / "run")
