"""Localisation cues from class activation maps and saliency, or from a published file."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image

from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.data.layouts.voc import image_numbers
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
    """Write the cues of each train image, and print their figures."""
    dataset = Index.load(index)
    entries = dataset.split("train")
    found: Iterable[np.ndarray]
    if cue_pickle:
        found = given_cues(dataset, cue_pickle, cue_list, settings.grid)
    else:
        found = made_cues(dataset, cams, saliency, settings)
    with write_maps(cues, settings=settings.model_dump_json()) as maps:
        for entry, cue in zip(entries, found, strict=True):
            maps.put(entry.id, cue)
    table = dataset.table
    labels = [np.sort(table.source_ids[list(entry.labels)]) for entry in entries]
    written = Maps(cues)  # read again one by one: those of all images may not fit into memory
    ids = [entry.id for entry in entries]
    write_cue_pickle(pickle, (table.source_planes(written[each]) for each in ids), labels)
    with atomic_folder(preview) as folder:
        for entry in entries[:PREVIEWS]:
            picture = cue_preview(read_image(data / entry.path), written[entry.id])
            Image.fromarray(picture).save(folder / f"{entry.id}.png")
    print(cue_statistics((written[each] for each in ids), labels))


def made_cues(
    dataset: Index, cams: Sequence[Path], saliency: Sequence[Path], settings: SeedSettings
) -> Iterator[np.ndarray]:
    """Make the cues (C, grid, grid) bool of each train image."""
    activation, salience = Maps(cams), Maps(saliency)
    for entry in progress(dataset.split("train")):
        yield make_cues(
            activation.floats(entry.id),
            salience.floats(entry.id),
            entry.labels,
            num_classes=dataset.num_classes,
            **settings.model_dump(exclude={"cues", "cue_list"}),
        )


def given_cues(dataset: Index, path: Path, listing: Path | None, grid: int) -> list[np.ndarray]:
    """Read the cues (C, grid, grid) bool of each train image; classes not in the index fall out."""
    entries, table = dataset.split("train"), dataset.table
    numbers = image_numbers([entry.id for entry in entries], listing)
    cues, _ = read_cue_pickle(path, num_classes=len(table.names) + 1, grid=grid)
    found = by_image(cues, numbers, path)
    return [_of_tags(found[entry.id][table.source_ids], entry, dataset, path) for entry in entries]


def _of_tags(cue: np.ndarray, entry: ImageEntry, dataset: Index, path: Path) -> np.ndarray:
    """Refuse cues of a class that the image has no tag of: most likely another image's."""
    untagged = cue.any(axis=(1, 2)) & ~dataset.tags(entry)
    if untagged.any():
        name = dataset.class_names[untagged.argmax()]
        raise UserError(
            f"{path} has cues of {name} for {entry.id}, which has no such tag: give the list that "
            "belongs to it, or set convert.label_source to cues"
        )
    return cue


if __name__ == "__main__":
    run_stage(seeds)
