"""One round of segmentation training: on target masks, or on seeds that grow (DSRG)."""

from pathlib import Path
from typing import Annotated

from seedbed.crf import DenseCRFGrid
from seedbed.data.images import read_image
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps
from seedbed.formats.overlay import cue_preview, overlay
from seedbed.runtime.errors import UserError
from seedbed.training.objectives.dsrg import SeedGrowingObjective
from seedbed.training.objectives.supervision import MaskObjective
from seedbed.training.previews import Preview
from seedbed.training.samples import Samples
from stages.command import Data, Deterministic, Device, Threads, run_stage
from stages.settings import DSRGSettings, RoundSettings
from stages.training_run import (
    digest,
    grid_of,
    make_network,
    make_view,
    train_network,
)

PREVIEWED = 6


def train_round(
    *,
    index: Annotated[Path, "dataset/index.json"],
    weights: Annotated[Path, "to write: the trained network"],
    log: Annotated[Path, "to write: a row every few iterations"],
    settings: RoundSettings,
    data: Data,
    device: Device,
    threads: Threads,
    deterministic: Deterministic,
    cues: Annotated[Path | None, "seeds/cues.h5, for method dsrg"] = None,
    targets: Annotated[Path | None, "the round's targets.h5, for cross_entropy"] = None,
    initial: Annotated[Path | None, "initial weights"] = None,
    preview: Annotated[Path | None, "to write: a picture, refreshed while training"] = None,
    code: Annotated[str, "digest of the code, for the checkpoint"] = "",
) -> None:
    """Train a segmentation network from its initial weights."""
    dsrg = settings.method == "dsrg"
    supervision = cues if dsrg else targets
    if supervision is None:
        raise UserError(f"method {settings.method} needs --cues (dsrg) or --targets (the others)")
    dataset = Index.load(index)
    model = make_network(settings, dataset.num_classes, initial)
    maps = Maps([supervision])
    entries = supervised(dataset.split("train"), maps)
    samples = Samples(
        entries,
        dataset.num_classes,
        data,
        make_view(settings, model),
        seed=settings.seed,
        targets=None if dsrg else maps,
        target_stride=settings.loss_stride,
        target_sampling=settings.label_sampling,
        cues=maps if dsrg else None,
        cue_grid=grid_of(model.eval(), settings.crop),
    )
    train_network(
        model,
        make_growing(settings.dsrg) if dsrg else MaskObjective(settings.label_sampling),
        samples,
        settings,
        weights=weights,
        log=log,
        classes=dataset.class_names,
        source_ids=dataset.table.source_ids.tolist(),
        preview=preview and make_preview(preview, entries[:PREVIEWED], maps, data, settings),
        key=digest(settings, code, [index, supervision, initial]),
        device=device,
        threads=threads,
        deterministic=deterministic,
    )


def supervised(entries: list[ImageEntry], maps: Maps) -> list[ImageEntry]:
    """The images that have something to be trained on; UserError if none has."""
    chosen = [entry for entry in entries if maps.attributes(entry.id).get("kept", True)]
    if not chosen:
        raise UserError("no train image has a target: lower the round's selection.threshold")
    return chosen


def make_preview(
    path: Path, entries: list[ImageEntry], maps: Maps, data: Path, settings: RoundSettings
) -> Preview:
    """The picture of the images, seen as in training, and of what supervises them."""
    paint = cue_preview if settings.method == "dsrg" else overlay
    photos = [read_image(data / entry.path) for entry in entries]
    targets = [paint(photo, maps[e.id]) for photo, e in zip(photos, entries, strict=True)]
    return Preview(
        path, photos, targets, size=settings.crop if settings.view.kind == "warp" else None
    )


def make_growing(settings: DSRGSettings) -> SeedGrowingObjective:
    """The DSRG objective of the settings."""
    options = settings.model_dump(exclude={"crf"})
    return SeedGrowingObjective(DenseCRFGrid(**settings.crf.model_dump()), **options)


if __name__ == "__main__":
    run_stage(train_round)
