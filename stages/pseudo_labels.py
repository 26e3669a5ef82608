"""Pseudo labels of the train images, from attention and saliency, from scores, or from files."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from seedbed.crf import resolve_backend
from seedbed.data.given_masks import export_source_masks, mask_folder, read_given_mask
from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.masks import VOID
from seedbed.formats.tables import write_tsv
from seedbed.inference.refine import crf_labels
from seedbed.methods.group_wsss.pseudo_labels import saliency_guided
from seedbed.methods.psa.pseudo_labels import argmax_labels
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
        given = mask_folder(data / settings.masks, entries)
        work = partial(read_given_mask, given, table=dataset.table)
    elif not sources:
        raise UserError(f"attention {settings.attention} needs its maps: give --attention")
    elif settings.rule == "argmax":
        work = partial(argmax_mask, sources=sources, settings=settings, data=data)
    elif saliency:
        work = partial(
            saliency_guided_mask, sources=sources, saliency=Maps(saliency), settings=settings
        )
    else:
        raise UserError(f"rule {settings.rule} needs --saliency")
    uses_crf = settings.crf and settings.rule == "argmax" and not settings.masks
    attributes = {"crf_backend": resolve_backend(settings.crf.backend)} if uses_crf else {}
    rows = []
    with write_maps(output, settings=settings.model_dump_json(), **attributes) as maps:
        for entry, mask in zip(entries, ordered_map(work, entries, workers), strict=True):
            maps.put(entry.id, mask)
            rows.append({"id": entry.id, **_statistics(mask, entry)})
    export_source_masks(output, folder, dataset.table)
    write_tsv(summary, rows)


def saliency_guided_mask(
    entry: ImageEntry, *, sources: list[Maps], saliency: Maps, settings: PseudoLabelSettings
) -> np.ndarray:
    """Mask of one image by rule saliency_guided, (H, W) uint8."""
    return saliency_guided(
        dict(zip(entry.labels, _maximum(entry, sources), strict=True)),
        saliency[entry.id],
        conflict_threshold=settings.conflict_threshold,
        attention_threshold=settings.attention_threshold,
        saliency_threshold=settings.saliency_threshold,
        minimum_foreground=settings.minimum_foreground,
    )


def argmax_mask(
    entry: ImageEntry, *, sources: list[Maps], settings: PseudoLabelSettings, data: Path
) -> np.ndarray:
    """Mask of one image by rule argmax, after the CRF if there is one, (H, W) uint8."""
    scores = _maximum(entry, sources)
    if settings.attention != "random_walk":  # whose first map is background
        background = np.full_like(scores[:1], settings.background_score, dtype=float)
        scores = np.concatenate([background, scores])
    if settings.crf:
        image, params = read_entry(data, entry), settings.crf.model_dump()
        return crf_labels(image, scores, [0, *entry.labels], params)[0]
    background, *maps = scores
    return argmax_labels(dict(zip(entry.labels, maps, strict=True)), background)


def _maximum(entry: ImageEntry, sources: list[Maps]) -> np.ndarray:
    """Pixel-wise maximum of an image's maps from several sources, (C, H, W)."""
    return np.maximum.reduce([source.floats(entry.id) for source in sources])


def _statistics(mask: np.ndarray, entry: ImageEntry) -> dict[str, object]:
    """Fractions of foreground and void, and the labels missing from the mask."""
    missing = [str(c) for c in entry.labels if not (mask == c).any()]
    return {
        "foreground": ((mask > 0) & (mask != VOID)).mean(),
        "void": (mask == VOID).mean(),
        "missing": " ".join(missing),
    }


if __name__ == "__main__":
    run_stage(pseudo_labels)
