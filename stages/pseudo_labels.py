"""Pseudo labels of the train images, from attention and saliency, from scores, or from files."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from seedbed.crf import resolve_backend
from seedbed.data.given_masks import export_source_masks, mask_folder, read_given_masks
from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.levels import fractions
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.palette import VOID
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
    if settings.masks:
        made = given_masks(data / settings.masks, entries, dataset, workers)
    else:
        sources = [Maps(paths) for paths in (attention, second_attention) if paths]
        work = masks_from_maps(settings, sources, saliency, data)
        made = ordered_map(work, entries, workers)
    uses_crf = settings.crf and settings.rule == "argmax" and not settings.masks
    attributes = {"crf_backend": resolve_backend(settings.crf.backend)} if uses_crf else {}
    rows = []
    with write_maps(output, settings=settings.model_dump_json(), **attributes) as maps:
        for entry, mask in zip(entries, made, strict=True):
            maps.put(entry.id, mask)
            rows.append({"id": entry.id, **_statistics(mask, entry)})
    export_source_masks(output, folder, dataset.table, dataset.mask_coding)
    write_tsv(summary, rows)


def masks_from_maps(
    settings: PseudoLabelSettings, sources: list[Maps], saliency: Sequence[Path], data: Path
) -> Callable[[ImageEntry], np.ndarray]:
    """The function that makes an image's mask by the rule of the settings."""
    if settings.attention == "maximum" and len(sources) < 2:
        raise UserError("attention maximum needs two: give --attention and --second-attention")
    if not sources:
        raise UserError(f"attention {settings.attention} needs its maps: give --attention")
    if settings.rule == "argmax":
        return partial(argmax_mask, sources=sources, settings=settings, data=data)
    if not saliency:
        raise UserError(f"rule {settings.rule} needs saliency maps: give --saliency")
    return partial(
        saliency_guided_mask, sources=sources, saliency=Maps(saliency), settings=settings
    )


def given_masks(
    folder: Path, entries: Sequence[ImageEntry], dataset: Index, workers: int
) -> Iterator[np.ndarray]:
    """Masks from a folder, (H, W) uint8 each; an image without labels needs none."""
    files = mask_folder(folder, entries)
    read = [entry for entry in entries if entry.labels or entry.id in files.paths]
    masks = read_given_masks(files, read, dataset, workers)
    for entry in entries:
        yield next(masks) if entry.labels or entry.id in files.paths else entry.background()
    next(masks, None)  # at the end of the generator all masks are checked together


def saliency_guided_mask(
    entry: ImageEntry, *, sources: list[Maps], saliency: Maps, settings: PseudoLabelSettings
) -> np.ndarray:
    """Mask of one image by rule saliency_guided, (H, W) uint8."""
    if not entry.labels:
        return entry.background()
    return saliency_guided(
        dict(zip(entry.labels, _class_maps(entry, sources, settings), strict=True)),
        saliency.levels(entry.id),
        conflict_threshold=settings.conflict_threshold,
        attention_threshold=settings.attention_threshold,
        saliency_threshold=settings.saliency_threshold,
        minimum_foreground=settings.minimum_foreground,
    )


def argmax_mask(
    entry: ImageEntry, *, sources: list[Maps], settings: PseudoLabelSettings, data: Path
) -> np.ndarray:
    """Mask of one image by rule argmax, after the CRF if there is one, (H, W) uint8."""
    if not entry.labels:
        return entry.background()
    if settings.attention == "random_walk":
        background, *maps = scores = _walk_scores(entry, sources)
    else:
        background, maps = settings.background_score, _maximum(entry, sources)
        scores = np.stack([np.full(maps.shape[1:], background), *fractions(maps)])
    if settings.crf:
        image, params = read_entry(data, entry), settings.crf.model_dump()
        return crf_labels(image, scores, [0, *entry.labels], params)[0]
    return argmax_labels(dict(zip(entry.labels, maps, strict=True)), background)


def _class_maps(
    entry: ImageEntry, sources: list[Maps], settings: PseudoLabelSettings
) -> np.ndarray:
    """Maps of an image's classes, (K, H, W): levels, or floating scores after a random walk."""
    if settings.attention == "random_walk":
        return _walk_scores(entry, sources)[1:]
    return _maximum(entry, sources)


def _walk_scores(entry: ImageEntry, sources: list[Maps]) -> np.ndarray:
    """Scores of background and of an image's classes after a random walk, (1 + K, H, W)."""
    return np.maximum.reduce([source.floats(entry.id) for source in sources])


def _maximum(entry: ImageEntry, sources: list[Maps]) -> np.ndarray:
    """Pixel-wise maximum of an image's maps from several sources: levels (K, H, W) uint8."""
    return np.maximum.reduce([source.levels(entry.id) for source in sources])


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
