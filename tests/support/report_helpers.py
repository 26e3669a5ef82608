"""A small synthetic run: every artefact that the report shows, in a folder."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seedbed.data.classes import ClassInfo
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import LOG_PROBABILITIES, write_maps
from seedbed.formats.tables import write_tsv
from stages.chain_options import ChainOptions
from stages.report import TableOptions
from tests.support.predictions import logarithms

HEIGHT, WIDTH = 24, 32
CLASSES = ("<script>alert(1)</script>", "dog & cat")
IDS = ("2007 000#1", "ünï%20cödé", "c", "d")  # two of train, two of val
RECALL = {"2007 000#1": 1.0, "c": 0.0}  # share of the object in the final mask; 0.5 for others
# Two rounds: convert → train → crf → train → crf → all; convert before all of them.
JOBS = r"""digraph snakemake_dag {
    node[shape=box, style=rounded];
	0[label = "all", color = "0.07 0.6 0.85", style="rounded"];
	1[label = "train\nround: 1", color = "0.27 0.6 0.85", style="rounded,dashed"];
	2[label = "crf", color = "0.20 0.6 0.85", style="rounded"];
	3[label = "convert", color = "0.20 0.6 0.85", style="rounded"];
	4[label = "train\nround: 0", color = "0.27 0.6 0.85", style="rounded"];
	5[label = "crf", color = "0.20 0.6 0.85", style="rounded"];
	3 -> 4
	3 -> 5
	4 -> 5
	5 -> 1
	3 -> 1
	1 -> 2
	3 -> 2
	2 -> 0
}"""


def tags_of(number: int) -> tuple[int, ...]:
    return (number % len(CLASSES) + 1,)


def entries() -> list[ImageEntry]:
    return [
        ImageEntry(
            *(id_, f"images/{k}.png", HEIGHT, WIDTH, tags_of(k)),
            *("train" if k < 2 else "val", True, ""),
        )
        for k, id_ in enumerate(IDS)
    ]


def true_mask(entry: ImageEntry) -> np.ndarray:
    """The object fills the left half; its right border is void."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[:, : WIDTH // 2] = entry.labels[0]
    mask[:, WIDTH // 2] = 255
    return mask


def final_mask(entry: ImageEntry) -> np.ndarray:
    mask = true_mask(entry)
    mask[int(HEIGHT * RECALL.get(entry.id, 0.5)) :] = 0
    mask[mask == 255] = 0
    return mask


def write_run(root: Path) -> dict[str, Any]:
    """Write the run; returns the arguments of the stage `report`."""
    results = root / "results"
    images, classes = entries(), [ClassInfo(name, k + 1) for k, name in enumerate(CLASSES)]
    Index(tuple(classes), tuple(images), "annotations").save(results / "dataset/index.json")
    for k, entry in enumerate(images):
        (root / "images").mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (40 * k, 90, 160)).save(root / entry.path)
    half = np.full((1, HEIGHT, WIDTH), 128, np.uint8)
    train = images[:2]
    artefacts = {
        "cams": stored(results / "cam/1-of-1.h5", dict.fromkeys(train, half), levels=255),
        "group_cams": stored(results / "group/cam.h5", dict.fromkeys(train, half), levels=255),
        "saliency": stored(results / "saliency.h5", dict.fromkeys(train, half[0]), levels=255),
        "cues": stored(results / "cues.h5", {e: np.eye(3)[:, :, None] > 0 for e in train}),
        "pseudo_labels": stored(results / "pseudo.h5", {e: true_mask(e) for e in train}),
        "truth": stored(results / "truth.h5", {e: true_mask(e) for e in images}),
        "targets": stored(results / "targets.h5", {e: true_mask(e) for e in train}, round=1),
        "predictions": [],
        "refined": [],
    }
    for split in ("train", "val"):
        for round_ in (0, 1):
            of_split = [e for e in images if e.split == split]
            attributes = {"round": round_, "split": split}
            name = f"{round_}-{split}.h5"
            artefacts["predictions"] += stored(
                results / f"p{name}",
                {e: probabilities(e) for e in of_split},
                values=LOG_PROBABILITIES,
                **attributes,
            )
            artefacts["refined"] += stored(
                results / f"m{name}",
                {e: np.stack([final_mask(e)] * 2) for e in of_split},
                **attributes,
            )
    return {"index": results / "dataset/index.json", "data": root, **artefacts, **tables(results)}


def stored(path: Path, arrays: dict[ImageEntry, np.ndarray], **attributes: object) -> list[Path]:
    with write_maps(path, **attributes) as maps:
        for entry, array in arrays.items():
            classes = [0, *entry.labels] if array.dtype == np.float16 else list(entry.labels)
            kept = entry.id != IDS[1]  # attribute of targets
            maps.put(entry.id, array, classes=classes, kept=kept)
    return [path]


def probabilities(entry: ImageEntry) -> np.ndarray:
    foreground = np.where(final_mask(entry) > 0, 0.8, 0.3)
    return logarithms([1 - foreground, foreground])


def tables(results: Path) -> dict[str, Any]:
    """Write quality, final figures, logs, benchmarks and the graph of the jobs."""
    figures = {"miou": 0.5, "precision": 0.75, "recall": 0.625, "coverage": None}
    ious = {f"iou {name}": 0.25 for name in ("background", *CLASSES)}
    rows = [
        {"list": name, "round": number, "step": step, "images": 2, **figures, **ious}
        for name, number, step in (
            ("train", None, "cam"),
            ("train", 1, "targets"),
            ("train", 0, "predictions"),
            ("val", 0, "predictions"),
        )
    ]
    write_tsv(results / "quality.tsv", rows)
    final = {"miou": 0.5, "split": "val", "images": 2, "variant": "voc"}
    final["iou"] = dict.fromkeys(("background", *CLASSES), 0.25)
    (results / "metrics.json").write_text(json.dumps(final))
    logs = [results / "classifier/log.tsv", results / "rounds/0/log.tsv"]
    for log in logs:
        write_tsv(log, [{"step": 10 * k, "rate": 1, "loss": 1 / k} for k in range(1, 5)])
    (results / "jobs.dot").write_text(JOBS)
    for name, seconds in {"cam/1-of-2": 70.0, "cam/2-of-2": 20.0, "audit": 3.5}.items():
        write_tsv(results / f"benchmarks/{name}.tsv", [{"s": seconds, "max_rss": 10 * seconds}])
    return {
        "quality": results / "quality.tsv",
        "metrics": results / "metrics.json",
        "logs": logs,
        "benchmarks": results / "benchmarks",
        "jobs": results / "jobs.dot",
        "config": json.dumps({"seeds": {"conflict": "<b>"}}),
    }


def report_arguments(**options: object) -> dict[str, object]:
    """Arguments of the stage report, from the values of its options."""
    groups = {"chain": ChainOptions, "tables": TableOptions}
    arguments = {
        name: group(**{f.name: options.pop(f.name) for f in fields(group) if f.name in options})
        for name, group in groups.items()
    }
    return {**options, **arguments}
