"""The masks that a round of training is supervised by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from seedbed.crf import resolve_backend
from seedbed.data.given_masks import (
    export_source_masks,
    kept_images,
    mask_folder,
    read_given_masks,
)
from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps, write_maps
from seedbed.formats.palette import VOID
from seedbed.formats.tables import write_tsv
from seedbed.inference.refine import restrict_to_labels
from seedbed.methods.spsm.masks import Proposal, select_images
from seedbed.methods.spsm.pixels import PixelThresholds, initial_proposal, refined_proposal
from seedbed.runtime.errors import UserError
from seedbed.runtime.pools import ordered_map
from stages.command import Data, Workers, run_stage
from stages.settings import SelectionSettings, TargetSettings

# The options that targets are made from. `selected` has other inputs after a round.
INPUTS = {
    "pseudo_labels": ("masks",),
    "ground_truth": ("masks",),
    "predictions": ("refined",),
    "selected": ("attention", "saliency"),
}
AFTER_A_ROUND = ("masks", "predictions", "refined")


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
    predictions: Annotated[list[Path], "the previous round's predictions of train"] = (),
    refined: Annotated[list[Path], "the previous round's masks of train, after the CRF"] = (),
    saliency: Annotated[list[Path], "saliency/*.h5"] = (),
    attention: Annotated[list[Path], "cam/*.h5"] = (),
) -> None:
    """Write a mask for each train image; its attribute `kept` says whether it is trained on."""
    dataset = Index.load(index)
    entries = dataset.split("train")
    select = settings.supervise == "selected" and not settings.masks
    if not settings.masks:
        given = {"masks": masks, "predictions": predictions, "refined": refined}
        check_inputs(settings.supervise, given | {"saliency": saliency, "attention": attention})
    attributes = {"round": round, "settings": settings.model_dump_json()}
    if select and not refined:
        attributes["crf_backend"] = resolve_backend(settings.selection.crf.backend)
    if settings.masks:
        made = given_targets(dataset, settings, data, workers)
    elif select:
        maps = map(Maps, (masks or [], predictions, refined, saliency, attention))
        propose = propose_refined if refined else propose_initial
        work = partial(propose, sources=Sources(*maps, data), settings=settings.selection)
        made = map(proposed_target, ordered_map(work, entries, workers))
    else:
        predicted = settings.supervise == "predictions"
        made = stored_targets(entries, Maps(refined if predicted else [masks]), predicted)
    rows: list[dict[str, Any]] = []
    with write_maps(output, **attributes) as file:
        for entry, target in zip(entries, made, strict=True):
            file.put(entry.id, target.mask)
            rows.append({"id": entry.id, "kept": int(target.kept), **target.figures})
        if select:
            keep_best(rows, entries, settings.selection)
        if not any(row["kept"] and row["valid"] for row in rows):
            raise UserError(
                f"round {round}: every pixel of its targets is void, so there is nothing to learn:"
                " correct the masks, or the thresholds that they are made with"
            )
        for row in rows:
            file.mark(row["id"], kept=bool(row["kept"]))
    export_source_masks(output, folder, dataset.table, dataset.mask_coding)
    write_tsv(selection, rows)


def check_inputs(supervise: str, given: Mapping[str, object]) -> None:
    """Raise UserError if an input is missing; `given` has the values of the options by name."""
    needed = INPUTS[supervise]
    if supervise == "selected" and any(given[name] for name in AFTER_A_ROUND):
        needed = (*AFTER_A_ROUND, "saliency")
    if missing := [f"--{name}" for name in needed if not given[name]]:
        raise UserError(f"supervise: {supervise} needs {' and '.join(missing)}: give the files")


@dataclass(frozen=True)
class Target:
    """A mask (H, W) uint8, whether it is trained on, and its figures in selection.tsv.

    `kept` of an image that is selected by quality is decided when all qualities are known.
    """

    mask: np.ndarray
    kept: bool
    figures: Mapping[str, object]


def unjudged(mask: np.ndarray, *, kept: bool = True) -> Target:
    """A mask that is used without judging its quality; its figure is the share that is not void."""
    return Target(mask, kept, {"valid": (mask != VOID).mean()})


def given_targets(
    dataset: Index, settings: TargetSettings, data: Path, workers: int
) -> Iterator[Target]:
    """Masks from a folder of PNGs; an image that is not trained on needs none.

    If there is one, it is stored too, because a later round of `selected` scores all images. An
    image without a mask is all void.
    """
    entries = dataset.split("train")
    folder = mask_folder(data / settings.masks, entries)
    listing = data / settings.mask_list if settings.mask_list else None
    kept = kept_images(entries, folder, listing)
    needed = kept | set(folder.paths)
    masks = read_given_masks(folder, [e for e in entries if e.id in needed], dataset, workers)
    for entry in entries:
        if entry.id in needed:
            yield unjudged(next(masks), kept=entry.id in kept)
        else:
            void = np.full((entry.height, entry.width), VOID, dtype=np.uint8)
            yield unjudged(void, kept=False)
    next(masks, None)  # at the end of the generator all masks are checked together


def stored_targets(entries: Sequence[ImageEntry], masks: Maps, predicted: bool) -> Iterator[Target]:
    """Stored masks as they are: (H, W), or (2, H, W) of labels and confidence.

    An image without labels is all background if its mask is predicted, or if it has none.
    """
    for entry in entries:
        if not entry.labels and (predicted or entry.id not in masks):
            yield unjudged(entry.background())
            continue
        if entry.id not in masks:
            raise UserError(f"{entry.id}: no mask to train on; give one or supervise otherwise")
        mask = masks[entry.id]
        yield unjudged(mask if mask.ndim == 2 else mask[0])


def proposed_target(proposal: Proposal) -> Target:
    """A proposal and its figures."""
    figures = {
        "valid": proposal.valid_fraction,
        "quality": proposal.quality,
        "coverage": proposal.coverage,
        "size_ok": int(proposal.size_ok),
        "candidate": proposal.candidate,
    }
    return Target(proposal.mask, False, figures)


@dataclass(frozen=True)
class Sources:
    """What proposals are made from: map files, and the folder that image paths are relative to."""

    masks: Maps
    predictions: Maps
    refined: Maps
    saliency: Maps
    attention: Maps
    data: Path


def certain_background(entry: ImageEntry) -> Proposal:
    """The proposal of an image without labels: all background, of the highest quality."""
    return Proposal(
        mask=entry.background(),
        quality=1.0,
        coverage=1.0,
        size_ok=True,
        candidate=1,
        valid_fraction=1.0,
    )


def propose_initial(
    entry: ImageEntry, *, sources: Sources, settings: SelectionSettings
) -> Proposal:
    """First proposal of an image, from attention and saliency."""
    if not entry.labels:
        return certain_background(entry)
    maps = dict(zip(entry.labels, sources.attention.levels(entry.id), strict=True))
    saliency, image = sources.saliency.levels(entry.id), read_entry(sources.data, entry)
    return initial_proposal(maps, saliency, image, settings.crf.model_dump(), _thresholds(settings))


def propose_refined(
    entry: ImageEntry, *, sources: Sources, settings: SelectionSettings
) -> Proposal:
    """Proposal of an image from the network of the previous round."""
    if not entry.labels:
        return certain_background(entry)
    labels, confidence = sources.refined[entry.id]
    predicted = sources.predictions.log_probabilities(entry.id)
    probabilities, classes = restrict_to_labels(*predicted, entry.labels)
    return refined_proposal(
        labels,
        confidence,
        probabilities,
        classes.tolist(),
        sources.saliency.levels(entry.id),
        sources.masks[entry.id],
        entry.labels,
        _thresholds(settings),
    )


def _thresholds(settings: SelectionSettings) -> PixelThresholds:
    return PixelThresholds(**settings.model_dump(include=set(PixelThresholds.__dataclass_fields__)))


def keep_best(
    rows: Sequence[dict[str, Any]], entries: Sequence[ImageEntry], settings: SelectionSettings
) -> None:
    """Set `kept` in each row by the qualities of all images."""
    kept = select_images(
        {row["id"]: row["quality"] for row in rows},
        {entry.id: entry.labels for entry in entries},
        threshold=settings.threshold,
        minimum_per_class=settings.minimum_per_class,
    )
    for row in rows:
        row["kept"] = int(row["id"] in kept)


if __name__ == "__main__":
    run_stage(targets)
