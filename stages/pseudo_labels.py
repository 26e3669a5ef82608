"""Pseudo labels from attention and saliency, or from class scores."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from seedbed.crf import dense_crf, unary_from_probabilities
from seedbed.data.classes import VOID
from seedbed.data.given_masks import export_source_masks, read_given_mask
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.tables import write_tsv
from seedbed.methods.group_wsss.pseudo_labels import argmax_labels, saliency_guided
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import ordered_map
from stages.command import Data, Workers, run_stage
from stages.settings import PseudoLabelSettings


def pseudo_labels(
    *,
    index: Annotated[Path, "dataset/index.json"],
    output: Annotated[Path, "to write: masks (H, W) uint8"],
    folder: Annotated[Path, "to write: the same as PNGs, in the data set's own ids"],
    summary: Annotated[Path, "to write: what each mask holds"],
    settings: PseudoLabelSettings,
    data: Data,
    workers: Workers,
    attention: Annotated[
        list[Path],
        "map files, unless the settings name masks; of several maps of an image the maximum counts",
    ] = (),
    second_attention: Annotated[list[Path], "further map files, for attention: maximum"] = (),
    saliency: Annotated[list[Path], "saliency/*.h5, for rule: saliency_guided"] = (),
) -> None:
    """Write a mask, with void where nothing is sure, for each train image."""
    dataset = Index.load(index)
    entries = dataset.split("train")
    sources = [Maps(paths) for paths in (attention, second_attention) if paths]
    if settings.masks:
        work = partial(read_given_mask, data / settings.masks, table=dataset.table)
    elif not sources:
        raise UserError(f"attention {settings.attention} needs its maps: give --attention")
    elif settings.rule == "argmax":
        work = partial(strongest, sources=sources, settings=settings, data=data)
    elif saliency:
        work = partial(guided, sources=sources, saliency=Maps(saliency), settings=settings)
    else:
        raise UserError(f"rule {settings.rule} needs --saliency")
    rows = []
    with write_maps(output, settings=settings.model_dump_json()) as maps:
        for entry, mask in zip(entries, ordered_map(work, entries, workers), strict=True):
            maps.put(entry.id, mask)
            rows.append({"id": entry.id, **_shares(mask, entry)})
    export_source_masks(output, folder, dataset.table)
    write_tsv(summary, rows)


def guided(
    entry: ImageEntry, *, sources: list[Maps], saliency: Maps, settings: PseudoLabelSettings
) -> np.ndarray:
    """The mask (H, W) uint8 of one image, by rule saliency_guided."""
    maps = dict(zip(entry.labels, _maximum(entry, sources), strict=True))
    thresholds = settings.model_dump(
        include={
            "conflict_threshold",
            "attention_threshold",
            "saliency_threshold",
            "minimum_foreground",
        }
    )
    return saliency_guided(maps, saliency[entry.id], **thresholds)


def strongest(
    entry: ImageEntry, *, sources: list[Maps], settings: PseudoLabelSettings, data: Path
) -> np.ndarray:
    """The mask (H, W) uint8 of one image, by rule argmax, after the CRF if there is one."""
    scores = _maximum(entry, sources)
    if settings.attention != "random_walk":  # whose maps begin with background
        background = np.full_like(scores[:1], settings.background_score, dtype=float)
        scores = np.concatenate([background, scores])
    if settings.crf:
        unary = unary_from_probabilities(scores / np.maximum(scores.sum(0), 1e-12))
        scores = dense_crf(read_image(data / entry.path), unary, settings.crf.model_dump())
    background, *maps = scores
    return argmax_labels(dict(zip(entry.labels, maps, strict=True)), background)


def _maximum(entry: ImageEntry, sources: list[Maps]) -> np.ndarray:
    """The larger of an image's maps (C, H, W) from several sources."""
    return np.maximum.reduce([source.floats(entry.id) for source in sources])


def _shares(mask: np.ndarray, entry: ImageEntry) -> dict[str, object]:
    """Shares of the image, and the tags that the mask lacks."""
    missing = [str(c) for c in entry.labels if not (mask == c).any()]
    return {
        "foreground": ((mask > 0) & (mask != VOID)).mean(),
        "void": (mask == VOID).mean(),
        "missing": " ".join(missing),
    }


if __name__ == "__main__":
    run_stage(pseudo_labels)
