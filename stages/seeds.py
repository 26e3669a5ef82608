"""Localisation cues of the train images, from CAMs and saliency or from DSRG's file."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image

from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry, Index
from seedbed.data.lists import image_numbers
from seedbed.formats.cue_pickle import by_image, read_cue_pickle, write_cue_pickle
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.overlay import cue_preview
from seedbed.methods.seed_statistics import cue_statistics
from seedbed.methods.seeds import make_cues
from seedbed.runtime.atomic import atomic_folder
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from stages.command import Data, run_stage
from stages.settings import SeedSettings

PREVIEWS = 24


def seeds(
    *,
    index: Annotated[Path, "dataset/index.json"],
    cues: Annotated[Path, "to write: (C, grid, grid) bool an image"],
    pickle: Annotated[Path, "to write: the same in DSRG's format, in the data set's own ids"],
    preview: Annotated[Path, "to write: a folder of pictures"],
    settings: SeedSettings,
    data: Data,
    cams: Annotated[list[Path], "cam/*.h5"] = (),
    saliency: Annotated[list[Path], "saliency/*.h5"] = (),
    cue_pickle: Annotated[Path | None, "DSRG's localization_cues.pickle to take instead"] = None,
    cue_list: Annotated[Path | None, "its input_list.txt; else the train list's order"] = None,
) -> None:
    """Write the cues of each train image, and print their statistics."""
    dataset = Index.load(index)
    entries, table = dataset.split("train"), dataset.table
    results: Iterable[np.ndarray]
    if cue_list and not cue_pickle:
        raise UserError("--cue-list numbers the images of a cue file: give --cue-pickle")
    if cue_pickle:
        results = read_cues(dataset, cue_pickle, cue_list, settings.grid)
    elif cams and saliency:
        results = computed_cues(dataset, cams, saliency, settings)
    else:
        raise UserError("cues need --cams and --saliency, or a file of cues: give --cue-pickle")
    with write_maps(cues, settings=settings.model_dump_json()) as maps:
        for entry, cue in zip(entries, results, strict=True):
            maps.put(entry.id, cue)
    stored = Maps(cues)  # read back one by one: those of all images may not fit into memory
    ids = [entry.id for entry in entries]
    labels = [np.sort(table.source_ids[list(entry.labels)]) for entry in entries]
    write_cue_pickle(pickle, (table.source_planes(stored[image_id]) for image_id in ids), labels)
    write_previews(preview, entries[:PREVIEWS], stored, data)
    print(cue_statistics((stored[image_id] for image_id in ids), (e.labels for e in entries)))


def write_previews(path: Path, entries: Sequence[ImageEntry], cues: Maps, data: Path) -> None:
    """Write a folder of pictures that show the cues over the images."""
    with atomic_folder(path) as folder:
        for entry in entries:
            picture = cue_preview(read_entry(data, entry), cues[entry.id])
            Image.fromarray(picture).save(folder / f"{entry.id}.png")


def computed_cues(
    dataset: Index, cams: Sequence[Path], saliency: Sequence[Path], settings: SeedSettings
) -> Iterator[np.ndarray]:
    """Yield the cues of each train image, (C, grid, grid) bool.

    In an image without labels every cell is background, whatever its saliency.
    """
    cam_maps, saliency_maps = Maps(cams), Maps(saliency)
    background = np.zeros((dataset.num_classes, settings.grid, settings.grid), dtype=bool)
    background[0] = True
    for entry in progress(dataset.split("train")):
        if not entry.labels:
            yield background
            continue
        yield make_cues(
            cam_maps.levels(entry.id),
            saliency_maps.levels(entry.id),
            entry.labels,
            num_classes=dataset.num_classes,
            **settings.model_dump(exclude={"cues", "cue_list"}),
        )


def read_cues(dataset: Index, path: Path, listing: Path | None, grid: int) -> list[np.ndarray]:
    """Cues of each train image from DSRG's file, (C, grid, grid) bool for the index's classes."""
    entries, table = dataset.split("train"), dataset.table
    numbers = image_numbers([entry.id for entry in entries], listing)
    cues, _ = read_cue_pickle(path, num_classes=len(table.names) + 1, grid=grid)
    by_id = by_image(cues, numbers, path)
    selected = [by_id[entry.id][table.source_ids] for entry in entries]
    for entry, cue in zip(entries, selected, strict=True):
        _check_labels(entry, cue, dataset, path)
    return selected


def _check_labels(entry: ImageEntry, cue: np.ndarray, dataset: Index, path: Path) -> None:
    """Raise UserError for cues of a class that is no label of the image: of another image."""
    unlabelled = cue.any(axis=(1, 2)) & ~dataset.tags(entry)
    if unlabelled.any():
        name = dataset.class_names[unlabelled.argmax()]
        raise UserError(
            f"{path} has cues of {name} for {entry.id}, which has no such tag: give the list that "
            "belongs to it, or set convert.label_source to cues"
        )


if __name__ == "__main__":
    run_stage(seeds)
