"""For tests of trainings: settings with neutral values, a small network and objectives."""

import torch
from torch import nn

from seedbed.training.checkpoint import Checkpoint
from seedbed.training.loop import train
from seedbed.training.objectives.objective import CollectingObjective, Objective
from seedbed.training.optimisation import SGD, AdamW, Constant, OneCycle, Optimisation
from seedbed.training.views import CropView, WarpView

CPU = torch.device("cpu")
# Settings of a short training stage, and with views on crops, with a bit of everything.
SHORT = {
    "network": "tiny_seg",
    "crop": 33,
    "batch": 4,
    "iterations": 3,
    "learning_rate": 5e-3,
    "accumulation": 2,
    "optimizer": {"kind": "adamw"},
    "schedule": {"kind": "multi_step", "milestones": [2]},
}
CROPPED = {
    **SHORT,
    "view": {"kind": "crop", "long_side": (30, 44), "hue": 0.1, "placement": "top_left"},
}
NEUTRAL_VIEW = {
    "scale": (1.0, 1.0),
    "rotate": 0.0,
    "flip": False,
    "jitter": 0.0,
    "hue": 0.0,
    "padding": None,
}
NEUTRAL_CROP = {
    "long_side": None,
    "scale_resampling": "half_pixel",
    "placement": "random",
    "flip_before_padding": True,
}


def adamw(weight_decay=0.0, decay_biases=False):
    return AdamW(weight_decay=weight_decay, decay_biases=decay_biases)


def sgd(momentum=0.9, nesterov=False):
    return SGD(momentum=momentum, nesterov=nesterov, weight_decay=0.0, decay_biases=False)


def optimisation(iterations=1, **changes):
    neutral = {
        "batch": 8,
        "accumulation": 1,
        "precision": "float32",
        "optimizer": adamw(),
        "schedule": Constant(),
        "learning_rate": 1e-3,
        "multipliers": (1.0, 1.0, 1.0, 1.0),
    }
    return Optimisation(iterations=iterations, **{**neutral, **changes})


def warp_view(crop, **changes):
    return WarpView(crop=crop, **{**NEUTRAL_VIEW, "resampling": "half_pixel", **changes})


def crop_view(crop, **changes):
    return CropView(crop=crop, **{**NEUTRAL_VIEW, **NEUTRAL_CROP, **changes})


class Toy(nn.Module):
    """With running statistics, dropout and a new part."""

    new_parts = ("head.",)

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3))
        self.head = nn.Linear(8, 1)

    def forward(self, images):
        return self.head(self.body(images.flatten(1)))


class Regression(Objective):
    """Squared error to the sum of the pixels, and a state that every step changes."""

    def __init__(self):
        self.total = torch.zeros(())

    def __call__(self, model, batch, step):
        wanted = batch.images.sum((1, 2, 3)) / 4
        error = (model(batch.images)[:, 0] - wanted).square().mean()
        self.total = self.total * 0.9 + error.detach()
        return {"loss": error, "total": self.total}

    def state_dict(self):
        return {"total": self.total}

    def load_state_dict(self, state):
        self.total = state["total"]


class Collector(CollectingObjective):
    """Keeps the results of each step; that is its state."""

    def __init__(self):
        super().__init__()
        self.kept = []

    def commit(self, results):
        self.kept.append(results)

    def state_dict(self):
        return {"kept": self.kept}

    def load_state_dict(self, state):
        self.kept = state["kept"]


def run_toy(
    batches,
    path,
    *,
    digest="d",
    iterations=33,
    model=Toy,
    objective=Regression,
    watching=None,
    **changes,
):
    """Train on the CPU: the network, the objective and the rows of the log."""
    torch.manual_seed(0)
    network, minimised = model(), objective()
    defaults = {"schedule": OneCycle(), "learning_rate": 0.03, "optimizer": adamw(1e-3)}
    rows = train(
        network,
        minimised,
        batches,
        optimisation(iterations, **{**defaults, **changes}),
        device=CPU,
        checkpoint=Checkpoint(path, digest),
        seed=5,
        threads=1,
        **(watching or {}),
    )
    return network, minimised, rows


def same_training(first, second):
    """Whether two results of `run_toy` are equal to the bit."""
    states = first[0].state_dict(), second[0].state_dict()
    return (
        states[0].keys() == states[1].keys()
        and all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        and torch.equal(first[1].total, second[1].total)
        and first[2] == second[2]
    )
