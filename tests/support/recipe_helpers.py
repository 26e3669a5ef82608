"""The published systems' recipes at a small scale: VOC's lists, and settings cut short."""

from pathlib import Path
from typing import Any

import yaml

from seedbed.data.layouts.voc import read_annotation
from seedbed.data.lists import read_list
from stages.settings import TrainingSettings, parse_config
from tests.support.workflow_helpers import ROOT

LISTS = {"train": 1464, "val": 1449, "test": 1456, "train_aug": 10582}
SYSTEMS = (
    *("dsrg-vgg16", "dsrg-resnet101", "dsrg-tf", "group-wsss"),
    *("spsm-vgg16", "spsm-resnet101", "psa-resnet38"),
)
TRAININGS = ("classifier", "group", "affinity", "training")
SIDE = 64
AFFINITY_SIDE = 80  # a cell needs four others on both sides


def recipe(name: str) -> dict[str, Any]:
    """What a recipe says."""
    return yaml.safe_load((ROOT / f"recipes/{name}.yaml").read_text())


def write_lists(data: Path) -> None:
    """A devkit and an SBD release with VOC's names and numbers of images, but without images."""
    folder = data / "VOCdevkit/VOC2012/ImageSets/Segmentation"
    folder.mkdir(parents=True)
    (data / "benchmark_RELEASE/dataset/cls").mkdir(parents=True)
    number = 0
    for name, length in LISTS.items():
        ids = [f"{2007 + k % 5}_{k:06d}" for k in range(number, number + length)]
        (folder / f"{name}.txt").write_text("".join(f"{one}\n" for one in ids))
        number += length
    (folder.parent / "train_cls.txt").write_text("2007_000000 0\n")


def trainings_of(content: dict[str, Any]) -> list[TrainingSettings]:
    """The trainings of a recipe."""
    return [training for _, training in parse_config(content).trainings()]


def weights_of(content: dict[str, Any]) -> set[str]:
    """The files of published weights that these start from."""
    return {block.weights or "" for block in trainings_of(content)} - {"", "classifier", "previous"}


def cut(content: dict[str, Any]) -> dict[str, Any]:
    """The recipe on a handful of synthetic scenes, two iterations a training, 64 pixels a side."""
    small = {name: brief(content[name]) for name in TRAININGS if name in content}
    if "affinity" in content:
        small["affinity"]["crop"] = AFFINITY_SIDE
    if "size" in content.get("cam", {}):
        small["cam"] = {**content["cam"], "size": SIDE + 1}
    devkit = {"devkit": "mini-0/VOCdevkit/VOC2012", "sbd": "mini-0/benchmark_RELEASE/dataset"}
    rounds = [brief(item) for item in content["rounds"]]
    for item in rounds:
        if "predict" in item:
            item["predict"] = {"size": SIDE + 1}
        if item.get("label_sampling") == "corner_aligned":
            item["crop"] = SIDE + 1
    return {
        **content,
        **small,
        "run": {"data": "data", "device": "cpu", "compute_threads": 1},
        "mini_dataset": {"train": 12, "val": 4, "size": SIDE},
        "convert": {**content["convert"], **devkit},
        "saliency": {"superpixels": 50},
        "group_cam": {"size": SIDE},
        "rounds": rounds,
        "crf": {**content.get("crf", {}), "iterations": 1},
    }


def brief(block: dict[str, Any]) -> dict[str, Any]:
    """A training's settings, or a round's, cut short."""
    least = {"iterations": 2, "batch": 2, "accumulation": 2, "crop": SIDE}
    short: dict[str, Any] = {key: value for key, value in least.items() if key in block}
    if "long_side" in block.get("view", {}):
        short["view"] = {**block["view"], "long_side": [48, 80]}
    if "milestones" in block.get("schedule", {}):
        short["schedule"] = {**block["schedule"], "milestones": [1]}
    if block.get("supervise") == "selected":  # two iterations teach nothing: keep all
        keep = dict.fromkeys(("threshold", "foreground_confidence", "background_confidence"), 0)
        short["selection"] = {**block.get("selection", {}), **keep}
    return {**block, **short}


def write_train_cls(devkit: Path) -> None:
    """Group-WSSS' list of labels, from the annotations of a devkit."""
    ids = read_list(devkit / "ImageSets/Segmentation/train_aug.txt")
    names = {one: read_annotation(devkit / f"Annotations/{one}.xml") for one in ids}
    order = sorted(set().union(*names.values()))
    lines = [" ".join([one, *(str(order.index(n)) for n in sorted(names[one]))]) for one in ids]
    (devkit / "ImageSets/train_cls.txt").write_text("".join(f"{line}\n" for line in lines))
