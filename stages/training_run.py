"""What the three training stages share: from settings to a trained network on disk."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from pydantic import BaseModel
from torch import Tensor, nn

from seedbed.formats.tables import write_tsv
from seedbed.models import build
from seedbed.models.network import Network
from seedbed.models.weights import load_weights, save_network
from seedbed.runtime.devices import pick_device
from seedbed.runtime.errors import UserError
from seedbed.training.determinism import be_deterministic
from seedbed.training.gradients import Objective
from seedbed.training.loop import Checkpoint, train
from seedbed.training.optimisation import Optimisation
from seedbed.training.previews import Preview
from seedbed.training.processes import launched_team
from seedbed.training.samples import Batch, Request, Samples, View, draws, loader
from stages.settings import TrainingSettings


def make_network(
    settings: TrainingSettings, num_classes: int, initial: Path | None, **options: object
) -> Network:
    """The settings' network, initialised from their seed and, if given, a file of weights."""
    torch.manual_seed(settings.seed)
    model = build(settings.network, num_classes, **settings.options, **options)
    if initial is not None:
        report = load_weights(model, initial, new_head=settings.new_head)
        placed, missing, left_over = (names for names in vars(report).values())
        print(f"{initial}: {len(placed)} tensors placed")
        print(f"  not in the file: {', '.join(missing) or 'none'}")
        print(f"  not used: {', '.join(left_over) or 'none'}")
    return model


def make_view(settings: TrainingSettings, model: Network) -> View:
    """Which random views of an image the settings ask for; what the model's mean colour is."""
    colours = {"image_mean": None, "network_mean": mean_colour(model), "black": (0.0, 0.0, 0.0)}
    options = settings.view.model_dump(exclude={"kind", "padding"})
    return View(
        settings.crop,
        warp=settings.view.kind == "warp",
        padding=colours[settings.view.padding],
        **options,
    )


def make_optimisation(settings: TrainingSettings) -> Optimisation:
    """How the settings want the weights updated."""
    schedule = settings.schedule.model_dump(exclude={"kind"})
    names = {"every": "step_every", "factor": "step_factor"}
    return Optimisation(
        iterations=settings.iterations,
        batch=settings.batch,
        accumulation=settings.accumulation,
        learning_rate=settings.learning_rate,
        multipliers=settings.multipliers,
        optimizer=settings.optimizer.kind,
        schedule=settings.schedule.kind,
        **settings.optimizer.model_dump(exclude={"kind"}),
        **{names.get(key, key): value for key, value in schedule.items()},
    )


def mean_colour(model: Network) -> tuple[float, float, float]:
    """The RGB levels that the network's preprocessing makes 0."""
    wanted = model.preprocessing
    mean = wanted.mean[::-1] if wanted.bgr else wanted.mean
    red, green, blue = (wanted.scale * channel for channel in mean)
    return red, green, blue


def grid_of(maps: Callable[[Tensor], Tensor], crop: int) -> int:
    """Cells on a side of the maps (N, C, h, w) that a network gives for a crop."""
    with torch.no_grad():
        return maps(torch.zeros(1, 3, crop, crop)).shape[-1]


def digest(settings: BaseModel, code: str, inputs: list[Path | None]) -> str:
    """What a checkpoint belongs to: settings, code and the content of the inputs."""
    total = hashlib.sha256(f"{settings.model_dump_json()} {code}".encode())
    for path in filter(None, inputs):
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def train_network(
    model: nn.Module,
    objective: Objective,
    samples: Samples,
    settings: TrainingSettings,
    *,
    weights: Path,
    log: Path,
    classes: list[str],
    key: str,
    device: str,
    threads: int,
    deterministic: int,
    regroup: Callable[[Iterator[list[Request]]], Iterator[list[Request]]] = iter,
    source_ids: Sequence[int] | None = None,
    preview: Preview | None = None,
    write_more: Callable[[], None] | None = None,
    **options: object,
) -> None:
    """Train to the end and write the network and its log, TensorBoard's events beside it.

    A checkpoint beside `weights` survives interruptions, until all is written. `classes` names the
    network's outputs, `source_ids` says what the data set's own masks call them, `preview` is a
    picture to refresh, `write_more` writes what else the training gives, `options` are those that
    the settings' own lack. Under torchrun the processes share each batch, and the first alone
    writes.
    """
    torch.set_num_threads(threads)
    be_deterministic(bool(deterministic))
    checkpoint = Checkpoint(weights, key)
    with launched_team() as team, checkpoint.lock() if team.leads else nullcontext():
        if settings.batch % team.size:
            raise UserError(
                f"run.training_processes: {team.size} must divide the batch of {settings.batch}: "
                "change one of them in the config"
            )
        place = pick_device(device, team)
        workers = threads if place.type == "cuda" else 0

        def batches(start: int) -> Iterable[Batch]:
            asked = draws(len(samples), settings.batch, start, settings.iterations, settings.seed)
            return loader(samples, regroup(team.share(asked)), workers)

        try:
            rows = train(
                model,
                objective,
                batches,
                make_optimisation(settings),
                device=place,
                checkpoint=checkpoint,
                seed=settings.seed,
                events=log.with_name("tensorboard"),
                preview=preview,
                team=team,
            )
        except torch.OutOfMemoryError:
            raise UserError(
                "GPU out of memory beside the batch, for the network itself, its optimiser or its "
                "preview: take another network or a larger GPU"
            ) from None
        if team.leads:
            write_tsv(log, rows)
            options = {**settings.options, **options}
            save_network(
                weights, model.cpu(), settings.network, len(classes), options, classes, source_ids
            )
            if write_more:
                write_more()
