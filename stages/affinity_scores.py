"""Class scores of the train images with low and high alpha, from which AffinityNet learns (PSA)."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import torch

from seedbed.crf import dense_crf, resolve_backend, unary_from_probabilities
from seedbed.data.classes import ClassTable
from seedbed.data.file_names import MatchedFolder
from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry, Index
from seedbed.data.lists import shard_of
from seedbed.formats.levels import quantise
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.psa import read_scores
from seedbed.methods.psa.walk import with_background
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import ordered_map
from stages.command import Data, Workers, run_stage
from stages.settings import AffinityScoreSettings


def affinity_scores(
    *,
    index: Annotated[Path, "dataset/index.json"],
    shard: Annotated[str, "which part of the images, as 1-of-1"],
    output: Annotated[Path, "to write: posteriors (2, 1 + K of the image, H, W) uint8"],
    settings: AffinityScoreSettings,
    data: Data,
    workers: Workers,
    cams: Annotated[list[Path], "cam/*.h5, the shard's, unless the settings name scores"] = (),
) -> None:
    """Write the posteriors of low and high alpha, background first, of each image."""
    dataset = Index.load(index)
    train = dataset.split("train")
    entries = shard_of(train, shard)
    attributes = {"settings": settings.model_dump_json()}
    if settings.low:
        names = [entry.id for entry in train]
        low, high = (data / settings.low, data / settings.high)
        folders = (MatchedFolder(low, names, (".npy",)), MatchedFolder(high, names, (".npy",)))
        work = partial(read_score_files, folders=folders, table=dataset.table)
    elif cams:
        attributes["crf_backend"] = resolve_backend(settings.crf.backend)
        work = partial(refined_scores, cams=Maps(cams), settings=settings, data=data)
    else:
        raise UserError("scores are made from class activation maps: give --cams")
    work = partial(_scores_of, work=work)
    with write_maps(output, levels=255, **attributes) as maps:
        for entry, scores in zip(entries, ordered_map(work, entries, workers), strict=True):
            maps.put(entry.id, scores, classes=[0, *entry.labels])


def _scores_of(entry: ImageEntry, *, work: Callable[[ImageEntry], np.ndarray]) -> np.ndarray:
    """Posteriors (2, 1 + K, H, W) uint8: certainly background without labels, else by `work`."""
    return (
        work(entry) if entry.labels else np.full((2, 1, entry.height, entry.width), 255, np.uint8)
    )


def refined_scores(
    entry: ImageEntry, *, cams: Maps, settings: AffinityScoreSettings, data: Path
) -> np.ndarray:
    """Posteriors of one image after the CRF, (2, 1 + K, H, W) uint8."""
    maps = torch.from_numpy(cams.floats(entry.id))
    image = read_entry(data, entry)
    posteriors = []
    for alpha in (settings.low_alpha, settings.high_alpha):
        # As in PSA the scores are not normalised, which only matters where one is clipped.
        unary = unary_from_probabilities(with_background(maps, alpha).numpy())
        posteriors.append(dense_crf(image, unary, settings.crf.model_dump()))
    return quantise(np.stack(posteriors))


def read_score_files(
    entry: ImageEntry, *, folders: Sequence[Path | MatchedFolder], table: ClassTable
) -> np.ndarray:
    """Posteriors of one image's own classes from PSA's files, (2, 1 + K, H, W) uint8."""
    paths = [folder / f"{entry.id}.npy" for folder in folders]
    return quantise(np.stack([_read_score_file(path, entry, table) for path in paths]))


def _read_score_file(path: Path, entry: ImageEntry, table: ClassTable) -> np.ndarray:
    """Posteriors (1 + K, H, W) of one file; raises UserError if it does not fit the image."""
    by_source_id = read_scores(path)
    for c in entry.labels:
        if (source_id := table.source_ids[c]) not in by_source_id:
            name = table.classes[c - 1].name
            raise UserError(f"{path} has no scores of {name} (key {source_id}): make it again")
    source_ids = table.source_ids[[0, *entry.labels]]
    scores = np.stack([by_source_id[source_id] for source_id in source_ids])
    size = (entry.height, entry.width)
    if scores.shape[1:] != size:
        raise UserError(
            f"{path} has scores of {scores.shape[1:]}, its image is {size}: make them from this"
            " image"
        )
    if scores.min() < 0 or scores.max() > 1 + 1e-5:
        raise UserError(f"{path} has scores that are not between 0 and 1: make it again")
    return scores


if __name__ == "__main__":
    run_stage(affinity_scores)
