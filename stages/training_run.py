"""What the training stages share: their settings as arguments of seedbed.training."""

from pathlib import Path

from seedbed.models.network import Network
from seedbed.training.checkpoint import Checkpoint, training_digest
from seedbed.training.network import NetworkSpec, mean_colour
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


def make_network(settings: TrainingSettings, spec: NetworkSpec, initial: Path | None) -> Network:
    """The network of the settings, initialised from their seed and, if given, a file of weights."""
    return spec.build(seed=settings.seed, initial=initial, new_head=settings.new_head)


def make_view(settings: TrainingSettings, model: Network) -> View:
    """The random views of the settings; the model gives the padding `network_mean`."""
    colours = {"image_mean": None, "network_mean": mean_colour(model), "black": (0.0, 0.0, 0.0)}
    common = {
        "crop": settings.crop,
        "scale": settings.scale,
        "rotate": settings.rotate,
        "flip": settings.flip,
        "jitter": settings.jitter,
        "hue": settings.hue,
        "padding": colours[settings.padding],
    }
    if settings.geometry == "warp":
        return WarpView(**common, resampling=settings.resampling)
    return CropView(**common, long_side=settings.long_side, placement=settings.placement)


def make_optimisation(settings: TrainingSettings) -> Optimisation:
    """The optimiser, schedule and rates of the settings."""
    decay = {"weight_decay": settings.weight_decay, "decay_biases": settings.decay_biases}
    optimizers: dict[str, Optimizer] = {
        "adamw": AdamW(**decay),
        "sgd": SGD(momentum=settings.momentum, nesterov=settings.nesterov, **decay),
    }
    schedules: dict[str, Schedule] = {
        "constant": Constant(),
        "poly": Poly(power=settings.power),
        "step": Step(every=settings.step_every, factor=settings.step_factor),
        "multi_step": MultiStep(milestones=settings.milestones, factor=settings.step_factor),
        "one_cycle": OneCycle(),
    }
    return Optimisation(
        iterations=settings.iterations,
        batch=settings.batch,
        accumulation=settings.accumulation,
        optimizer=optimizers[settings.optimizer],
        schedule=schedules[settings.schedule],
        learning_rate=settings.learning_rate,
        multipliers=settings.multipliers,
    )


def make_checkpoint(
    weights: Path, settings: TrainingSettings, code: str, inputs: list[Path | None]
) -> Checkpoint:
    """The checkpoint beside `weights`, for these settings, code and inputs alone."""
    files = [path for path in inputs if path is not None]
    return Checkpoint(weights, training_digest(settings.model_dump_json(), code, files))
