"""Trains AffinityNet, which predicts whether neighbouring cells are of one class (PSA)."""

from functools import partial
from pathlib import Path
from typing import Annotated

from seedbed.data.index import Index
from seedbed.formats.maps import Maps
from seedbed.training.network import Execution, NetworkSpec, train_network
from seedbed.training.objectives.affinity import AffinityObjective
from seedbed.training.samples import Samples
from seedbed.training.supervision import AffinitySupervision
from stages.command import Data, Deterministic, Device, Threads, run_stage
from stages.settings import AffinitySettings
from stages.training_run import make_checkpoint, make_optimisation, make_view


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
    """Train on pairs of cells with confident labels."""
    dataset = Index.load(index)
    # Pairs have no classes; AffinityNet takes them only to be built like every other network.
    spec = NetworkSpec(
        name=settings.network,
        options=settings.options,
        classes=dataset.class_names,
        precision=settings.precision,
    )
    model = spec.build(seed=settings.seed, initial=initial, new_head=settings.new_head)
    samples = Samples(
        dataset.split("train"),
        data,
        make_view(settings, model),
        num_classes=dataset.num_classes,
        seed=settings.seed,
        supervision=AffinitySupervision(maps=Maps(scores)),
    )
    train_network(
        model,
        AffinityObjective(),
        samples,
        make_optimisation(settings),
        execution=Execution(device=device, threads=threads, deterministic=bool(deterministic)),
        checkpoint=make_checkpoint(weights, settings, code, [index, *scores, initial]),
        log=log,
        save=partial(spec.save, weights),
    )


if __name__ == "__main__":
    run_stage(train_affinity)
