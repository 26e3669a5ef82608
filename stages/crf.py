"""Masks from class probabilities by a dense CRF: labels and confidence."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from seedbed.crf import resolve_backend
from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry, Index
from seedbed.data.lists import shard_of
from seedbed.formats.maps import Maps, write_maps
from seedbed.inference.refine import crf_labels, restrict_to_labels
from seedbed.runtime.pools import ordered_map
from stages.command import Data, Split, Workers, run_stage
from stages.settings import MaskCRFSettings


def crf(
    *,
    index: Annotated[Path, "dataset/index.json"],
    predictions: Annotated[Path, "the shard's predictions"],
    round: Annotated[int, "number of the round, for the artefact's attributes"],
    split: Split,
    shard: Annotated[str, "which part of the images, as 1-of-1"],
    output: Annotated[Path, "to write: label and confidence · 255, (2, H, W) uint8"],
    settings: MaskCRFSettings,
    data: Data,
    workers: Workers,
) -> None:
    """Write the label and confidence of each pixel of each image."""
    entries = shard_of(Index.load(index).split(split), shard)
    work = partial(refine, predictions=Maps([predictions]), settings=settings, data=data)
    about = {"round": round, "split": split, "settings": settings.model_dump_json()}
    with write_maps(output, crf_backend=resolve_backend(settings.backend), **about) as maps:
        for entry, mask in zip(entries, ordered_map(work, entries, workers), strict=True):
            maps.put(entry.id, mask)


def refine(
    entry: ImageEntry, *, predictions: Maps, settings: MaskCRFSettings, data: Path
) -> np.ndarray:
    """Label and confidence times 255 of one image, (2, H, W) uint8."""
    log_probabilities, classes = predictions.log_probabilities(entry.id)
    if settings.restrict_to_tags and entry.split == "train":
        probabilities, classes = restrict_to_labels(log_probabilities, classes, entry.labels)
    else:
        probabilities = np.exp(log_probabilities.astype(np.float32))
    params = settings.model_dump(exclude={"restrict_to_tags"})
    return crf_labels(read_entry(data, entry), probabilities, classes, params)


if __name__ == "__main__":
    run_stage(crf)
