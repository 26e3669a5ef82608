"""What the training stages share: their settings as arguments of seedbed.training."""

from pathlib import Path

from seedbed.models.network import Network
from seedbed.training.checkpoint import Checkpoint, training_digest
from seedbed.training.optimisation import (
    SGD,
    AdamW,
    Constant,
    MultiStep,
    OneCycle,
    Optimisation,
    Optimizer,
    Poly,
    Schedule,
    Step,
)
from seedbed.training.views import CropView, View, WarpView
from stages.settings import TrainingSettings

# What the kinds of the settings' blocks stand for; their other keys are its arguments.
VIEWS: dict[str, type[View]] = {"warp": WarpView, "crop": CropView}
OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD, "adamw": AdamW}
SCHEDULES: dict[str, type[Schedule]] = {
    "constant": Constant,
    "poly": Poly,
    "step": Step,
    "multi_step": MultiStep,
    "one_cycle": OneCycle,
}


def make_view(settings: TrainingSettings, model: Network) -> View:
    """The random views of the settings; the model gives the padding `network_mean`."""
    network_mean = model.preprocessing.mean_rgb
    colours = {"image_mean": None, "network_mean": network_mean, "black": (0.0, 0.0, 0.0)}
    options = settings.view.model_dump(exclude={"kind", "padding"})
    return VIEWS[settings.view.kind](
        crop=settings.crop, padding=colours[settings.view.padding], **options
    )


def make_optimisation(settings: TrainingSettings) -> Optimisation:
    """The optimiser, schedule and rates of the settings."""
    optimizer = settings.optimizer.model_dump(exclude={"kind"})
    schedule = settings.schedule.model_dump(exclude={"kind"})
    return Optimisation(
        iterations=settings.iterations,
        batch=settings.batch,
        accumulation=settings.accumulation,
        precision=settings.precision,
        optimizer=OPTIMIZERS[settings.optimizer.kind](**optimizer),
        schedule=SCHEDULES[settings.schedule.kind](**schedule),
        learning_rate=settings.learning_rate,
        multipliers=settings.multipliers,
    )


def make_checkpoint(
    weights: Path, settings: TrainingSettings, code: str, inputs: list[Path | None]
) -> Checkpoint:
    """The checkpoint beside `weights`, for these settings, code and inputs alone."""
    files = [path for path in inputs if path is not None]
    return Checkpoint(weights, training_digest(settings.model_dump_json(), code, files))
