"""Group-wise mining: trains the co-attention graph network and accumulates its class maps."""

from functools import partial
from pathlib import Path
from typing import Annotated

from seedbed.data.index import ImageEntry, Index
from seedbed.formats.maps import write_maps
from seedbed.methods.group_wsss.partners import GroupIndex
from seedbed.models.network import Network
from seedbed.training.network import Execution, NetworkSpec, train_network
from seedbed.training.objectives.group import Accumulation, GroupObjective, MapAccumulator
from seedbed.training.sampler import group_requests
from seedbed.training.samples import Samples
from stages.command import Data, Deterministic, Device, Threads, run_stage
from stages.settings import GroupSettings
from stages.training_run import make_checkpoint, make_optimisation, make_view


def train_group(
    *,
    index: Annotated[Path, "dataset/index.json"],
    weights: Annotated[Path, "to write: the trained network"],
    log: Annotated[Path, "to write: a row every few iterations"],
    maps: Annotated[Path, "to write: the accumulated class maps"],
    settings: GroupSettings,
    data: Data,
    device: Device,
    threads: Threads,
    deterministic: Deterministic,
    initial: Annotated[Path | None, "initial weights"] = None,
    code: Annotated[str, "digest of the code, for the checkpoint"] = "",
) -> None:
    """Train on groups of images with the same tags."""
    dataset = Index.load(index)
    entries = dataset.split("train")
    pooling = settings.pooling.model_dump()
    spec = NetworkSpec(
        name=settings.network,
        options={**settings.options, **pooling, "group_size": settings.group_size},
        classes=dataset.class_names[1:],
        precision=settings.precision,
    )
    model = spec.build(seed=settings.seed, initial=initial, new_head=settings.new_head)
    samples = Samples(
        entries,
        data,
        make_view(settings, model),
        num_classes=dataset.num_classes,
        seed=settings.seed,
        supervision=None,
    )
    objective = make_objective(settings, entries, dataset.num_classes, model)
    groups = GroupIndex([entry.labels for entry in entries], settings.partner_draws)

    def save(model: Network) -> None:
        spec.save(weights, model)
        write_accumulated(maps, objective.accumulator, entries)

    train_network(
        model,
        objective,
        samples,
        make_optimisation(settings),
        execution=Execution(device=device, threads=threads, deterministic=bool(deterministic)),
        checkpoint=make_checkpoint(weights, settings, code, [index, initial]),
        log=log,
        save=save,
        regroup=partial(group_requests, groups, settings.group_size, seed=settings.seed),
    )


def make_objective(
    settings: GroupSettings, entries: list[ImageEntry], num_classes: int, model: Network
) -> GroupObjective:
    """The group objective of the settings, for the class maps of the model."""
    side = model.eval().output_side(settings.crop)
    labels = [entry.labels for entry in entries]
    accumulation = Accumulation.from_epoch(
        settings.accumulate_from_epoch,
        images=len(entries),
        batch=settings.batch,
        iterations=settings.iterations,
        min_score=settings.accumulate_score,
    )
    return GroupObjective(
        MapAccumulator(labels, num_classes, (side, side), accumulation.min_score),
        accumulation,
        group_size=settings.group_size,
        before_weight=settings.before_weight,
    )


def write_accumulated(path: Path, accumulator: MapAccumulator, entries: list[ImageEntry]) -> None:
    """Write the accumulated maps, (K of the image, h, w) uint8 for each image."""
    with write_maps(path, levels=255, source="kept while training") as file:
        for position, entry in enumerate(entries):
            levels = accumulator.maps(position, entry.labels).numpy()
            file.put(entry.id, levels, classes=list(entry.labels))


if __name__ == "__main__":
    run_stage(train_group)
