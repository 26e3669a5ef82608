"""The image classifier whose class activation maps start everything."""

from pathlib import Path
from typing import Annotated

from seedbed.data.index import Index
from seedbed.training.objectives.supervision import TagObjective
from seedbed.training.samples import Samples
from stages.command import Data, Deterministic, Device, Threads, run_stage
from stages.settings import ClassifierSettings
from stages.training_run import digest, make_network, make_view, train_network


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
    pooling = settings.pooling.model_dump()
    model = make_network(settings, dataset.num_classes - 1, initial, **pooling)
    samples = Samples(
        dataset.split("train"),
        dataset.num_classes,
        data,
        make_view(settings, model),
        seed=settings.seed,
    )
    train_network(
        model,
        TagObjective(),
        samples,
        settings,
        weights=weights,
        log=log,
        classes=dataset.class_names[1:],
        key=digest(settings, code, [index, initial]),
        device=device,
        threads=threads,
        deterministic=deterministic,
        **pooling,
    )


if __name__ == "__main__":
    run_stage(train_classifier)
