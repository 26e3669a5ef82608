"""Pseudo labels from attention and saliency."""

from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from seedbed.artefacts import Maps, export_masks, write_maps, write_tsv
from seedbed.data.index import ImageEntry, Index
from seedbed.device import ordered_map
from seedbed.pseudo_labels import argmax_labels, saliency_guided
from stages.command import Workers, run_stage
from stages.settings import PseudoLabelSettings

VOID = 255


def pseudo_labels(
    *,
    index: Annotated[Path, "dataset/index.json"],
    attention: Annotated[list[Path], "map files; of several maps of an image the maximum counts"],
    saliency: Annotated[list[Path], "saliency/*.h5"],
    output: Annotated[Path, "to write: masks (H, W) uint8"],
    folder: Annotated[Path, "to write: the same as PNGs"],
    summary: Annotated[Path, "to write: what each mask holds"],
    settings: PseudoLabelSettings,
    workers: Workers,
    second_attention: Annotated[list[Path], "further map files, for attention: maximum"] = (),
) -> None:
    """Write a mask with void for each train image."""
    entries = Index.load(index).split("train")
    sources = [Maps(paths) for paths in (attention, second_attention) if paths]
    work = partial(label, sources=sources, saliency=Maps(saliency), settings=settings)
    rows = []
    with write_maps(output, settings=settings.model_dump_json()) as maps:
        for entry, mask in zip(entries, ordered_map(work, entries, workers), strict=True):
            maps.put(entry.id, mask)
            rows.append({"id": entry.id, **_shares(mask, entry)})
    export_masks(output, folder)
    write_tsv(summary, rows)


def label(
    entry: ImageEntry, *, sources: list[Maps], saliency: Maps, settings: PseudoLabelSettings
) -> np.ndarray:
    """The mask (H, W) uint8 of one image."""
    strongest = np.maximum.reduce([source.floats(entry.id) for source in sources])
    maps = dict(zip(entry.labels, strongest, strict=True))
    if settings.rule == "argmax":
        return argmax_labels(maps, settings.background_score)
    thresholds = settings.model_dump(
        include={
            "conflict_threshold",
            "attention_threshold",
            "saliency_threshold",
            "minimum_foreground",
        }
    )
    return saliency_guided(maps, saliency[entry.id], **thresholds)


def _shares(mask: np.ndarray, entry: ImageEntry) -> dict[str, object]:
    """Shares of the image, and the tags that the mask lacks."""
    missing = [str(c) for c in entry.labels if not (mask == c).any()]
    return {
        "foreground": ((mask > 0) & (mask != VOID)).mean(),
        "void": (mask == VOID).mean(),
        "missing": " ".join(missing),
    }


def main() -> None:
    """Run from the command line."""
    run_stage(pseudo_labels)


if __name__ == "__main__":
    main()
