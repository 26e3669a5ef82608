"""What the three training stages share: from settings to a trained network on disk."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from seedbed.artefacts import write_tsv
from seedbed.data.samples import Request, Samples, View, draws, loader
from seedbed.device import be_deterministic, pick_device
from seedbed.models import build
from seedbed.training import Checkpoint, Objective, Optimisation, train
from seedbed.weights import load
from seedbed.weights.checkpoint import save_network
from stages.settings import TrainingSettings


def make_network(
    settings: TrainingSettings, num_classes: int, initial: Path | None, **options: object
) -> nn.Module:
    """The settings' network, initialised from their seed and, if given, a file of weights."""
    torch.manual_seed(settings.seed)
    model = build(settings.network, num_classes, **settings.options, **options)
    if initial is not None:
        load(model, initial)
    return model


def make_view(settings: TrainingSettings) -> View:
    """Which random views the settings ask for."""
    return View(
        settings.crop,
        warp=settings.geometry == "warp",
        scale=settings.scale,
        rotate=settings.rotate,
        flip=settings.flip,
        jitter=settings.jitter,
    )


def grid_of(maps: Callable[[Tensor], Tensor], crop: int) -> int:
    """Cells on a side of the maps (N, C, h, w) that a network gives for a crop."""
    with torch.no_grad():
        return maps(torch.zeros(1, 3, crop, crop)).shape[-1]


def digest(settings: BaseModel, code: str, inputs: list[Path | None]) -> str:
    """What a checkpoint belongs to: settings, code and the content of the inputs."""
    total = hashlib.sha256(f"{settings.model_dump_json()} {code}".encode())
    for path in filter(None, inputs):
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def train_network(
    model: nn.Module,
    objective: Objective,
    samples: Samples,
    settings: TrainingSettings,
    *,
    output: Path,
    key: str,
    device: str,
    threads: int,
    deterministic: int,
    regroup: Callable[[Iterator[list[Request]]], Iterator[list[Request]]] = iter,
) -> list[dict[str, float]]:
    """Train to the end and give the log; a checkpoint beside `output` survives interruptions."""
    torch.set_num_threads(threads)
    be_deterministic(bool(deterministic))
    target = pick_device(device)
    checkpoint = Checkpoint(output, key)
    shared = Optimisation.__dataclass_fields__.keys()
    optimisation = Optimisation(**settings.model_dump(include=set(shared)))

    def batches(start: int) -> Iterator:
        requests = draws(len(samples), settings.batch, start, settings.iterations, settings.seed)
        return loader(samples, regroup(requests), workers=threads if target.type == "cuda" else 0)

    with checkpoint.lock():
        return train(
            model,
            objective,
            batches,
            optimisation,
            device=target,
            checkpoint=checkpoint,
            seed=settings.seed,
        )


def save_training(
    model: nn.Module,
    rows: list[dict[str, float]],
    settings: TrainingSettings,
    *,
    num_classes: int,
    classes: list[str],
    weights: Path,
    log: Path,
    **options: object,
) -> None:
    """Write the network and its log, and drop the checkpoint."""
    write_tsv(log, rows)
    options = {**settings.options, **options}
    save_network(weights, model.cpu(), settings.network, num_classes, options, classes)
    Checkpoint(weights, "").remove()
