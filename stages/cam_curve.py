"""Mean IoU of class maps at every constant background score (the curve of SEAM)."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import matplotlib
import numpy as np

from seedbed.data.index import ImageEntry, Index
from seedbed.evaluation.metrics import background_curve
from seedbed.formats.maps import Maps
from seedbed.formats.psa import read_cam
from seedbed.formats.tables import write_tsv
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from stages.command import run_stage

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CHOSEN = "chosen with ground truth"
ClassMaps = dict[int, np.ndarray]


def cam_curve(
    *,
    index: Annotated[Path, "dataset/index.json"],
    truth: Annotated[Path, "dataset/masks.h5"],
    output: Annotated[Path, "to write: a row a list and background score"],
    picture: Annotated[Path, "to write: the same as a PNG"],
    cams: Annotated[list[Path], "cam/*.h5"] = (),
    npy: Annotated[Path | None, "folder of PSA's {id}.npy instead of --cams"] = None,
) -> None:
    """Score the train images that have a true mask, and those of VOC's own list apart."""
    if bool(cams) == (npy is not None):
        raise UserError("the curve is that of class maps: give either --cams or --npy")
    dataset = Index.load(index)
    entries = [entry for entry in dataset.split("train") if entry.has_mask]
    if not entries:
        raise UserError(f"{index}: no train image has a mask to score against")
    if npy is None:
        read = partial(stored_maps, cams=Maps(cams))
    else:
        read = partial(given_maps, folder=npy, source_ids=dataset.table.source_ids.tolist())
    true = Maps([truth])
    rows = []
    for name, scored in lists(entries, dataset.audit_list).items():
        thresholds, curve = background_curve(pairs(scored, read, true), dataset.num_classes)
        best = curve.argmax()  # of equals the lowest score
        rows += [
            {
                "list": name,
                "images": len(scored),
                "background_score": float(score),
                "miou": float(miou),
                "best": CHOSEN if i == best else None,
            }
            for i, (score, miou) in enumerate(zip(thresholds, curve, strict=True))
        ]
    write_tsv(output, rows)
    draw(picture, rows)


def lists(entries: list[ImageEntry], own: tuple[str, ...]) -> dict[str, list[ImageEntry]]:
    """The images scored: all of them, and apart those of VOC's own train list if they are fewer."""
    inside = [entry for entry in entries if entry.id in set(own)]
    apart = {"train (VOC's own list)": inside} if 0 < len(inside) < len(entries) else {}
    return {"train": entries, **apart}


def stored_maps(entry: ImageEntry, *, cams: Maps) -> ClassMaps:
    """Maps of an image by class id."""
    return dict(zip(cams.attributes(entry.id)["classes"], cams.floats(entry.id), strict=True))


def given_maps(entry: ImageEntry, *, folder: Path, source_ids: list[int]) -> ClassMaps:
    """The same from PSA's file; classes that the data set does not have are left out."""
    path = folder / f"{entry.id}.npy"
    found = read_cam(path)
    maps = {c: found[source_id] for c, source_id in enumerate(source_ids) if source_id in found}
    if not maps:
        raise UserError(f"{path} has a map of none of the data set's classes: make it again")
    return maps


def pairs(
    entries: list[ImageEntry], read: Callable[[ImageEntry], ClassMaps], true: Maps
) -> Iterator[tuple[ClassMaps, np.ndarray]]:
    """Maps and truth, image by image."""
    for entry in progress(entries):
        maps, mask = read(entry), true[entry.id]
        shape = next(iter(maps.values())).shape
        if shape != mask.shape:
            raise UserError(
                f"{entry.id}: its maps are {shape}, its mask {mask.shape}; make them anew"
            )
        yield maps, mask


def draw(path: Path, rows: list[dict]) -> None:
    """A curve a list, its best point marked for what it is."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4), layout="constrained")
    for name in dict.fromkeys(row["list"] for row in rows):
        curve = [row for row in rows if row["list"] == name]
        best = next(row for row in curve if row["best"])
        score, miou = best["background_score"], best["miou"]
        label = f"{name}: best {miou:.4f} at {score:.2f}, {CHOSEN}"
        x, y = zip(*((row["background_score"], row["miou"]) for row in curve), strict=True)
        (line,) = axes.plot(x, y)
        axes.plot(score, miou, "*", markersize=12, color=line.get_color(), label=label)
    axes.set_xlabel("background score")
    axes.set_ylabel("mIoU of the class maps")
    figure.legend(loc="outside upper center")
    with atomic(path) as temporary:
        figure.savefig(temporary, metadata={"Software": None})
    plt.close(figure)


if __name__ == "__main__":
    run_stage(cam_curve)
