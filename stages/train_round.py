"""Trains a segmentation network for one round: on masks, or on cues whose seeds grow (DSRG)."""

from functools import partial
from pathlib import Path
from typing import Annotated

from seedbed.crf import DenseCRFGrid
from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import Maps
from seedbed.formats.overlay import cue_preview, overlay
from seedbed.models.network import Network
from seedbed.runtime.errors import UserError
from seedbed.training.network import Execution, NetworkSpec, train_network
from seedbed.training.objectives.dsrg import SeedGrowingObjective, warn_seed_flooding
from seedbed.training.objectives.masks import MaskObjective
from seedbed.training.objectives.objective import Objective
from seedbed.training.previews import Preview
from seedbed.training.samples import Samples
from seedbed.training.supervision import CueSupervision, MaskSupervision, Supervision
from stages.command import Data, Deterministic, Device, Threads, run_stage
from stages.settings import RoundSettings
from stages.training_run import make_checkpoint, make_optimisation, make_view

PREVIEWED = 6  # images


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
    source = cues if settings.method == "dsrg" else targets
    if source is None:
        option = "--cues" if settings.method == "dsrg" else "--targets"
        raise UserError(f"method {settings.method} trains on {option}: give its file")
    dataset, maps = Index.load(index), Maps([source])
    spec = NetworkSpec(
        name=settings.network,
        options=settings.options,
        classes=dataset.class_names,
        precision=settings.precision,
        source_ids=dataset.table.source_ids.tolist(),
    )
    model = spec.build(seed=settings.seed, initial=initial, new_head=settings.new_head)
    entries = supervised(dataset.split("train"), maps)
    samples = Samples(
        entries,
        data,
        make_view(settings, model),
        num_classes=dataset.num_classes,
        seed=settings.seed,
        supervision=make_supervision(settings, maps, model),
    )
    train_network(
        model,
        make_objective(settings, dataset.num_classes),
        samples,
        make_optimisation(settings),
        execution=Execution(device=device, threads=threads, deterministic=bool(deterministic)),
        checkpoint=make_checkpoint(weights, settings, code, [index, source, initial]),
        log=log,
        save=partial(spec.save, weights),
        preview=preview and make_preview(preview, entries[:PREVIEWED], maps, data, settings),
    )


def supervised(entries: list[ImageEntry], maps: Maps) -> list[ImageEntry]:
    """The images that have a target to train on; UserError if none has."""
    chosen = [entry for entry in entries if maps.attributes(entry.id).get("kept", True)]
    if not chosen:
        raise UserError("no train image has a target: lower the round's selection.threshold")
    return chosen


def make_supervision(settings: RoundSettings, maps: Maps, model: Network) -> Supervision:
    """Cues on the model's grid for DSRG, else masks on a grid of the settings' stride."""
    if settings.method == "dsrg":
        return CueSupervision(maps=maps, grid=model.eval().output_side(settings.crop))
    return MaskSupervision(maps=maps, stride=settings.loss_stride, sampling=settings.label_sampling)


def make_objective(settings: RoundSettings, num_classes: int) -> Objective:
    """The objective of the round's method."""
    if settings.method == "dsrg":
        crf = DenseCRFGrid(**settings.dsrg.crf.model_dump())
        if (settings.dsrg.grow_on, settings.dsrg.train_unary) == ("crf", "prob"):
            warn_seed_flooding(crf.params, num_classes)
        return SeedGrowingObjective(crf, **settings.dsrg.model_dump(exclude={"crf"}))
    return MaskObjective(settings.label_sampling)


def make_preview(
    path: Path, entries: list[ImageEntry], maps: Maps, data: Path, settings: RoundSettings
) -> Preview:
    """The preview of these images and their targets, with the images warped as in training."""
    paint = cue_preview if settings.method == "dsrg" else overlay
    photos = [read_entry(data, entry) for entry in entries]
    targets = [paint(photo, maps[e.id]) for photo, e in zip(photos, entries, strict=True)]
    return Preview(
        path, photos, targets, size=settings.crop if settings.view.kind == "warp" else None
    )


if __name__ == "__main__":
    run_stage(train_round)
