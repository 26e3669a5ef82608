"""Group-wise mining: trains the co-attention graph network and keeps its best maps."""

from functools import partial
from pathlib import Path
from typing import Annotated

from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import write_maps
from seedbed.methods.group_wsss.partners import GroupIndex
from seedbed.training.objectives.supervision import GroupObjective
from seedbed.training.samples import Samples, group_draws
from stages.command import Data, Deterministic, Device, Threads, run_stage
from stages.settings import GroupSettings
from stages.training_run import (
    digest,
    grid_of,
    make_network,
    make_view,
    train_network,
)


def train_group(
    *,
    index: Annotated[Path, "dataset/index.json"],
    weights: Annotated[Path, "to write: the trained network"],
    log: Annotated[Path, "to write: a row every few iterations"],
    maps: Annotated[Path, "to write: the maps kept while training"],
    settings: GroupSettings,
    data: Data,
    device: Device,
    threads: Threads,
    deterministic: Deterministic,
    initial: Annotated[Path | None, "initial weights"] = None,
    code: Annotated[str, "digest of the code, for the checkpoint"] = "",
) -> None:
    """Train on groups of images with equal tags."""
    dataset = Index.load(index)
    entries = dataset.split("train")
    options = {**settings.pooling.model_dump(), "group_size": settings.group_size}
    model = make_network(settings, dataset.num_classes - 1, initial, **options)
    grid = grid_of(model.eval().extract_features, settings.crop)
    objective = make_objective(settings, entries, dataset.num_classes, grid)
    groups = GroupIndex([entry.labels for entry in entries], settings.partner_draws)
    view = make_view(settings, model)
    train_network(
        model,
        objective,
        Samples(entries, dataset.num_classes, data, view, seed=settings.seed),
        settings,
        weights=weights,
        log=log,
        classes=dataset.class_names[1:],
        key=digest(settings, code, [index, initial]),
        device=device,
        threads=threads,
        deterministic=deterministic,
        regroup=partial(group_draws, groups, settings.group_size, seed=settings.seed),
        write_more=partial(write_kept, maps, objective, entries),
        **options,
    )


def write_kept(path: Path, objective: GroupObjective, entries: list[ImageEntry]) -> None:
    """Write the maps that were kept while training, (K of the image, h, w) uint8."""
    with write_maps(path, levels=255, source="kept while training") as kept:
        for position, entry in enumerate(entries):
            found = objective.maps(position, entry.labels).numpy()
            kept.put(entry.id, found, classes=list(entry.labels))


def make_objective(
    settings: GroupSettings, entries: list[ImageEntry], num_classes: int, grid: int
) -> GroupObjective:
    """The group loss; an epoch is one visit of every image as a group's first."""
    epochs = settings.iterations * settings.batch // len(entries)
    last = max(0, epochs - 1) * len(entries) // settings.batch  # every image is yet to come
    start = settings.accumulate_from_epoch * len(entries) // settings.batch
    return GroupObjective(
        [entry.labels for entry in entries],
        num_classes,
        (grid, grid),
        group_size=settings.group_size,
        before_weight=settings.before_weight,
        from_step=min(start, last),
        last_epoch_from=last,
        least_score=settings.accumulate_score,
    )


if __name__ == "__main__":
    run_stage(train_group)
