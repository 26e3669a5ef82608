"""Trains AffinityNet, which says which neighbouring cells belong together."""

from pathlib import Path
from typing import Annotated

from seedbed.data.index import Index
from seedbed.formats.maps import Maps
from seedbed.training.objectives.affinity import AffinityObjective
from seedbed.training.samples import Samples
from stages.command import Data, Deterministic, Device, Threads, run_stage
from stages.settings import AffinitySettings
from stages.training_run import digest, make_network, make_view, train_network


def train_affinity(
    *,
    index: Annotated[Path, "dataset/index.json"],
    scores: Annotated[list[Path], "affinity/scores/*.h5"],
    weights: Annotated[Path, "to write: the trained network"],
    log: Annotated[Path, "to write: a row every few iterations"],
    settings: AffinitySettings,
    data: Data,
    device: Device,
    threads: Threads,
    deterministic: Deterministic,
    initial: Annotated[Path | None, "initial weights"] = None,
    code: Annotated[str, "digest of the code, for the checkpoint"] = "",
) -> None:
    """Train on pairs of cells whose classes are sure."""
    dataset = Index.load(index)
    # Pairs have no classes; their number alone lets the network be built again like any other.
    model = make_network(settings, dataset.num_classes, initial)
    samples = Samples(
        dataset.split("train"),
        dataset.num_classes,
        data,
        make_view(settings, model),
        seed=settings.seed,
        scores=Maps(scores),
    )
    train_network(
        model,
        AffinityObjective(),
        samples,
        settings,
        weights=weights,
        log=log,
        classes=dataset.class_names,
        key=digest(settings, code, [index, *scores, initial]),
        device=device,
        threads=threads,
        deterministic=deterministic,
    )


if __name__ == "__main__":
    run_stage(train_affinity)
