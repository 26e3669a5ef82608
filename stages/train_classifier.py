"""Trains the image classifier that gives the class activation maps."""

from functools import partial
from pathlib import Path
from typing import Annotated

from seedbed.data.index import Index
from seedbed.training.network import Execution, NetworkSpec, train_network
from seedbed.training.objectives.tags import TagObjective
from seedbed.training.samples import Samples
from stages.command import Data, Deterministic, Device, Threads, run_stage
from stages.settings import ClassifierSettings
from stages.training_run import make_checkpoint, make_optimisation, make_view


def train_classifier(
    *,
    index: Annotated[Path, "dataset/index.json"],
    weights: Annotated[Path, "to write: the trained network"],
    log: Annotated[Path, "to write: a row every few iterations"],
    settings: ClassifierSettings,
    data: Data,
    device: Device,
    threads: Threads,
    deterministic: Deterministic,
    initial: Annotated[Path | None, "initial weights"] = None,
    code: Annotated[str, "digest of the code, for the checkpoint"] = "",
) -> None:
    """Train a multi-label classifier on the train images' tags."""
    dataset = Index.load(index)
    spec = NetworkSpec(
        name=settings.network,
        options={**settings.options, **settings.pooling.model_dump()},
        classes=dataset.class_names[1:],
        precision=settings.precision,
    )
    model = spec.build(seed=settings.seed, initial=initial, new_head=settings.new_head)
    samples = Samples(
        dataset.split("train"),
        data,
        make_view(settings, model),
        num_classes=dataset.num_classes,
        seed=settings.seed,
        supervision=None,
    )
    train_network(
        model,
        TagObjective(),
        samples,
        make_optimisation(settings),
        execution=Execution(device=device, threads=threads, deterministic=bool(deterministic)),
        checkpoint=make_checkpoint(weights, settings, code, [index, initial]),
        log=log,
        save=partial(spec.save, weights),
    )


if __name__ == "__main__":
    run_stage(train_classifier)
