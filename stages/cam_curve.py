"""Mean IoU of class maps against the constant background score (the curve of SEAM)."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from seedbed.data.file_names import MatchedFolder
from seedbed.data.index import ImageEntry, Index
from seedbed.evaluation.background_curve import background_curve
from seedbed.evaluation.lists import scored_lists
from seedbed.evaluation.plots import plot_background_curves
from seedbed.formats.maps import Maps
from seedbed.formats.psa import read_cam
from seedbed.formats.tables import write_tsv
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from stages.command import run_stage

CHOSEN = "chosen with ground truth"
ClassMaps = dict[int, np.ndarray]


def cam_curve(
    *,
    index: Annotated[Path, "dataset/index.json"],
    truth: Annotated[Path, "dataset/masks.h5"],
    output: Annotated[Path, "to write: a row for each list and background score"],
    picture: Annotated[Path, "to write: the curves as a PNG"],
    cams: Annotated[list[Path], "cam/*.h5"] = (),
    npy: Annotated[Path | None, "folder of PSA's or IRN's {id}.npy instead of --cams"] = None,
    tuning_every: Annotated[int | None, "as the setting audit.tuning_every; 0: none"] = None,
) -> None:
    """Score the train images with a ground truth mask, parts of them also separately.

    Images without labels have no map and are left out.
    """
    if bool(cams) == (npy is not None):
        raise UserError("the curve needs class maps: give either --cams or --npy")
    dataset = Index.load(index)
    entries = [entry for entry in dataset.split("train") if entry.has_mask and entry.labels]
    if not entries:
        raise UserError(f"{index}: no train image has a mask to score against, and a label")
    if npy is None:
        read = partial(stored_maps, cams=Maps(cams))
    else:
        names = [entry.id for entry in dataset.split("train")]
        folder = MatchedFolder(npy, names, (".npy",))
        read = partial(published_maps, folder=folder, source_ids=dataset.table.source_ids.tolist())
    masks, rows, curves = Maps([truth]), [], {}
    for name, listed in scored_lists("train", entries, dataset, tuning_every).items():
        scores, mious = background_curve(maps_and_truth(listed, read, masks), dataset.num_classes)
        curves[name] = scores, mious
        rows += curve_rows(name, len(listed), scores, mious)
    write_tsv(output, rows)
    plot_background_curves(picture, curves, CHOSEN)


def curve_rows(
    list_name: str, images: int, scores: np.ndarray, mious: np.ndarray
) -> list[dict[str, object]]:
    """A row for each background score; the lowest of the best scores is marked."""
    best = mious.argmax()
    return [
        {
            "list": list_name,
            "images": images,
            "background_score": score,
            "miou": miou,
            "best": CHOSEN if i == best else None,
        }
        for i, (score, miou) in enumerate(zip(scores, mious, strict=True))
    ]


def stored_maps(entry: ImageEntry, *, cams: Maps) -> ClassMaps:
    """Class maps {class id: levels (H, W) uint8} of an image."""
    return dict(zip(cams.attributes(entry.id)["classes"], cams.levels(entry.id), strict=True))


def published_maps(
    entry: ImageEntry, *, folder: Path | MatchedFolder, source_ids: list[int]
) -> ClassMaps:
    """Class maps of an image from PSA's file; classes that the data set lacks are left out."""
    path = folder / f"{entry.id}.npy"
    by_source_id = read_cam(path)
    maps = {c: by_source_id[s] for c, s in enumerate(source_ids) if s in by_source_id}
    if not maps:
        raise UserError(f"{path} has a map of none of the data set's classes: make it again")
    return maps


def maps_and_truth(
    entries: Sequence[ImageEntry], read: Callable[[ImageEntry], ClassMaps], masks: Maps
) -> Iterator[tuple[ClassMaps, np.ndarray]]:
    """Class maps and true mask of each image; UserError if their sizes differ."""
    for entry in progress(entries):
        maps, mask = read(entry), masks[entry.id]
        shape = next(iter(maps.values())).shape
        if shape != mask.shape:
            raise UserError(
                f"{entry.id}: its maps are {shape}, its mask is {mask.shape}; remake the maps"
            )
        yield maps, mask


if __name__ == "__main__":
    run_stage(cam_curve)
