"""What a round of training is trained on."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from seedbed.data.classes import VOID, ClassTable
from seedbed.data.given_masks import export_source_masks, kept_images, read_given_mask
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.tables import write_tsv
from seedbed.methods.spsm.selection import (
    Proposal,
    SelectionThresholds,
    initial_proposal,
    keep,
    refined_proposal,
)
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import ordered_map
from stages.command import Data, Workers, run_stage
from stages.settings import SelectionSettings, TargetSettings


def targets(
    *,
    index: Annotated[Path, "dataset/index.json"],
    round: Annotated[int, "number of the round, for the artefact's attributes"],
    output: Annotated[Path, "to write: masks (H, W) uint8"],
    folder: Annotated[Path, "to write: the same as PNGs, in the data set's own ids"],
    selection: Annotated[Path, "to write: which masks are kept, and why"],
    settings: TargetSettings,
    data: Data,
    workers: Workers,
    masks: Annotated[Path | None, "masks to train on as they are, or first candidates"] = None,
    predictions: Annotated[list[Path], "the round before's predictions of train"] = (),
    refined: Annotated[list[Path], "the round before's masks of train, after the CRF"] = (),
    saliency: Annotated[list[Path], "saliency/*.h5"] = (),
    attention: Annotated[list[Path], "cam/*.h5"] = (),
) -> None:
    """Write a mask for each train image, with the attribute whether it is trained on."""
    dataset = Index.load(index)
    entries = dataset.split("train")
    found: Iterable[Target]
    if settings.masks:
        listing = data / settings.mask_list if settings.mask_list else None
        found = given(dataset, data / settings.masks, listing, workers)
    elif settings.supervise == "selected":
        sources = {"predictions": predictions, "refined": refined, "saliency": saliency}
        opened = {name: Maps(paths) for name, paths in sources.items()}
        if refined:
            work = partial(refine, first=Maps([masks]), settings=settings.selection, **opened)
        else:
            work = partial(
                begin,
                attention=Maps(attention),
                saliency=opened["saliency"],
                settings=settings.selection,
                data=data,
            )
        found = map(judged, ordered_map(work, entries, workers))
    else:
        source = Maps(refined if settings.supervise == "predictions" else [masks])
        found = (plain(_mask(source, entry)) for entry in entries)
    rows: list[dict[str, Any]] = []
    with write_maps(output, round=round, settings=settings.model_dump_json()) as maps:
        for entry, target in zip(entries, found, strict=True):
            maps.put(entry.id, target.mask)
            rows.append({"id": entry.id, "kept": int(target.kept), **target.details})
        if settings.supervise == "selected" and not settings.masks:
            chosen = _keep(entries, rows, settings.selection)
            rows = [{**row, "kept": int(row["id"] in chosen)} for row in rows]
        for row in rows:
            maps.mark(row["id"], kept=bool(row["kept"]))
    export_source_masks(output, folder, dataset.table)
    write_tsv(selection, rows)


@dataclass(frozen=True)
class Target:
    """A mask (H, W) uint8, whether it is trained on, and what the table says of it."""

    mask: np.ndarray
    kept: bool
    details: Mapping[str, object]


def plain(mask: np.ndarray, *, kept: bool = True) -> Target:
    """A mask that nothing judges."""
    return Target(mask, kept, {"valid": (mask != VOID).mean()})


def judged(proposal: Proposal) -> Target:
    """A proposal, not kept as yet: its quality must be among those of all images."""
    return Target(proposal.mask, False, _details(proposal))


def given(dataset: Index, folder: Path, listing: Path | None, workers: int) -> Iterator[Target]:
    """Masks from a folder of PNGs; an image that is not trained on needs none and is all void."""
    entries = dataset.split("train")
    kept = kept_images(entries, folder, listing)
    work = partial(_given_or_void, folder=folder, kept=kept, table=dataset.table)
    return ordered_map(work, entries, workers)


def _given_or_void(entry: ImageEntry, *, folder: Path, kept: set[str], table: ClassTable) -> Target:
    if entry.id in kept:
        return plain(read_given_mask(folder, entry, table))
    return plain(np.full((entry.height, entry.width), VOID, dtype=np.uint8), kept=False)


def _mask(source: Maps, entry: ImageEntry) -> np.ndarray:
    """A mask, or the labels of a file that holds labels and confidence."""
    if entry.id not in source:
        raise UserError(f"{entry.id}: no mask to train on; give one or supervise otherwise")
    mask = source[entry.id]
    return mask if mask.ndim == 2 else mask[0]


def begin(
    entry: ImageEntry, *, attention: Maps, saliency: Maps, settings: SelectionSettings, data: Path
) -> Proposal:
    """First proposal of an image, from attention and saliency."""
    maps = dict(zip(entry.labels, attention.floats(entry.id), strict=True))
    image = read_image(data / entry.path)
    crf = settings.crf.model_dump()
    return initial_proposal(maps, saliency.floats(entry.id), image, crf, _thresholds(settings))


def refine(
    entry: ImageEntry,
    *,
    predictions: Maps,
    refined: Maps,
    saliency: Maps,
    first: Maps,
    settings: SelectionSettings,
) -> Proposal:
    """Proposal of an image from the network of the round before."""
    labels, confidence = refined[entry.id]
    return refined_proposal(
        labels,
        confidence / np.float32(255),
        predictions.floats(entry.id),
        list(predictions.attributes(entry.id)["classes"]),
        saliency.floats(entry.id),
        first[entry.id],
        entry.labels,
        _thresholds(settings),
    )


def _thresholds(settings: SelectionSettings) -> SelectionThresholds:
    names = set(SelectionThresholds.__dataclass_fields__) & set(SelectionSettings.model_fields)
    return SelectionThresholds(**settings.model_dump(include=names))


def _keep(
    entries: list[ImageEntry], rows: list[dict[str, Any]], settings: SelectionSettings
) -> set[str]:
    return keep(
        {row["id"]: row["quality"] for row in rows},
        {entry.id: entry.labels for entry in entries},
        threshold=settings.threshold,
        minimum_per_class=settings.minimum_per_class,
    )


def _details(proposal: Proposal) -> dict[str, object]:
    return {
        "valid": proposal.valid_fraction,
        "quality": proposal.quality,
        "coverage": proposal.coverage,
        "size_ok": int(proposal.size_ok),
        "candidate": proposal.candidate,
    }


if __name__ == "__main__":
    run_stage(targets)
