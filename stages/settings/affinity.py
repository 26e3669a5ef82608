"""Pixel affinities and the random walk (PSA)."""

from pydantic import Field, model_validator

from stages.settings.base import Block, Count, Positive, Precision
from stages.settings.inference import CRFSettings
from stages.settings.training import (
    SGD,
    CropView,
    Multipliers,
    Optimizer,
    PolySchedule,
    Schedule,
    TrainingSettings,
    View,
)


class AffinityScoreSettings(Block):
    """Class scores that mark the cells which surely are background or a class (PSA)."""

    low: str | None = Field(
        None,
        description="folder of PSA's `{id}.npy` of the low exponent, to read together with high"
        " instead of computing scores",
    )
    high: str | None = Field(None, description="folder of PSA's `{id}.npy` of the high exponent")
    low_alpha: Positive = Field(
        4.0, description="low exponent of the background score (1 - CAM)^alpha: much background"
    )
    high_alpha: Positive = Field(32.0, description="high exponent: little background")
    crf: CRFSettings = Field(CRFSettings(), description="the CRF on the scores")

    @model_validator(mode="after")
    def _both_or_neither(self) -> "AffinityScoreSettings":
        if (self.low is None) != (self.high is None):
            raise ValueError("low: give both low and high, or neither")
        return self


class AffinitySettings(TrainingSettings):
    """AffinityNet: which neighbouring cells belong together (PSA, Ahn & Kwak 2018).

    The defaults are the release's. Its momentum is 5e-4 because the code passes the weight decay in
    the place of the momentum.
    """

    network_kind = "affinity"
    multipliers: Multipliers = (1.0, 2.0, 10.0, 20.0)
    view: View = CropView(jitter=0.3, hue=0.1, padding="black")
    optimizer: Optimizer = SGD(momentum=5e-4)
    schedule: Schedule = PolySchedule()


class RandomWalkSettings(Block):
    """The random walk that spreads class activation maps along affinities (PSA)."""

    alpha: Positive = Field(16.0, description="exponent of the background score (1 - CAM)^alpha")
    beta: Positive = Field(8.0, description="exponent of the affinities")
    steps: Count = Field(256, description="number of steps")
    border_sources: bool = Field(
        False,
        description="link the cells at the image border as well, which PSA does not; without them"
        " the walk changes nothing in images of at most 32 pixels in height or 64 in width",
    )
    precision: Precision = "float32"
