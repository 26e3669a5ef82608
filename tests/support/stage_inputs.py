"""One artefact of each kind that a stage reads, a few pixels large."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.data.index import ClassInfo, ImageEntry, Index
from seedbed.data.mini.dataset import write_mini
from seedbed.formats.maps import LOG_PROBABILITIES, write_maps
from seedbed.formats.masks import write_mask
from seedbed.formats.tables import write_tsv
from seedbed.models.registry import build
from seedbed.models.weights import save_network
from tests.support.predictions import logarithms

SIDE = 32
IDS = ("a", "b")  # of train, of val
FOREGROUND = ("cams", "attention", "second_attention", "group_cams", "kept")  # maps of the tags


def write_inputs(folder: Path) -> Path:
    """Write an artefact of each kind, of one train and one val image, and return the folder."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    entries = []
    for name, split in zip(IDS, ("train", "val"), strict=True):
        Image.fromarray(pixels).save(folder / f"{name}.png")
        entries.append(ImageEntry(name, f"{name}.png", SIDE, SIDE, (1, 2), split, True, ""))
    classes = (ClassInfo("cat", 8), ClassInfo("dog", 12))
    Index(classes, tuple(entries), "annotations").save(folder / "index.json")
    write_artefacts(folder, np.tile(np.uint8([0, 1, 2, 2]), (SIDE, SIDE // 4)))
    write_networks(folder)
    write_foreign(folder)
    write_mini(folder / "mini", seed=0, train=12, val=6, size=SIDE)
    return folder


def write_artefacts(folder: Path, mask: np.ndarray) -> None:
    """Every HDF5 file that a stage reads."""
    two = np.stack([mask, mask[::-1]])
    three = np.stack([1 - mask / 4, mask / 8, mask / 8]).astype(np.float16)
    arrays = {
        **dict.fromkeys(FOREGROUND, two),
        **dict.fromkeys(("truth", "masks", "pseudo_labels", "targets"), mask),
        "saliency": mask * 100,
        "cues": np.stack([mask == c for c in range(3)])[:, ::4, ::4].astype(np.uint8),
        "predictions": logarithms(three),
        "walks": three,
        "refined": np.stack([mask, mask * 0 + 255]),
        "scores": np.uint8(np.stack([three, three]) * 255),
    }
    for name, array in arrays.items():
        about = {"values": LOG_PROBABILITIES} if name == "predictions" else {}
        with write_maps(folder / f"{name}.h5", levels=255, round=0, split="train", **about) as maps:
            for image_id in IDS:
                listed = [1, 2] if name in FOREGROUND else [0, 1, 2]
                maps.put(image_id, array, classes=listed, kept=True)


def write_networks(folder: Path) -> None:
    """The weights of a network of each kind."""
    kinds = {"cls": ("tiny_cls", 2), "seg": ("tiny_seg", 3), "group": ("tiny_group", 2)}
    for kind, (name, count) in kinds.items():
        save_network(
            folder / f"{kind}.pt",
            build(name, count),
            name,
            count,
            {},
            ["background", "cat", "dog"][-count:],
        )


def write_foreign(folder: Path) -> None:
    """Folders and tables that stages read: masks, class maps, tables, a list of tags."""
    for name in ("pngs", "grey", "psa", "photos", "run/benchmarks"):
        (folder / name).mkdir(parents=True)
    for image_id in IDS:
        write_mask(folder / f"pngs/{image_id}.png", np.zeros((SIDE, SIDE), np.uint8))
        grey = Image.fromarray(np.full((SIDE, SIDE), 7, np.uint8))
        for name in (image_id, f"{image_id}_7", f"{image_id}_11"):
            grey.save(folder / f"grey/{name}.png")
        # PSA's class maps by class - 1, and scores by class with background.
        np.save(
            folder / f"psa/{image_id}.npy", dict.fromkeys((0, 7, 8, 11, 12), np.ones((SIDE, SIDE)))
        )
    Image.new("RGB", (SIDE, SIDE)).save(folder / "photos/a.png")
    (folder / "garbage").write_bytes(b"\xff\x00 no artefact")
    (folder / "labels.csv").write_text("image,labels\na.png,cat\n")
    (folder / "list.txt").write_text("a.jpg 0\n")
    (folder / "jobs.dot").write_text("digraph {\n}\n")
    write_tsv(folder / "log.tsv", [{"step": 1, "loss": 0.5}, {"step": 2, "loss": 0.25}])
    row = {"list": "train", "round": None, "step": "cam", "images": 1, "miou": 0.5}
    write_tsv(folder / "run/quality.tsv", [row])
    (folder / "annotations").mkdir()
    figures = {"miou": 0.5, "iou": {}, "split": "val", "images": 1, "variant": "voc"}
    (folder / "run/metrics.json").write_text(json.dumps(figures))
