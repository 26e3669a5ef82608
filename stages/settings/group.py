"""Group-wise mining (Group-WSSS)."""

from typing import Annotated, Literal

from pydantic import Field

from stages.settings.base import Block, Count, Fraction, Positive, Precision, Seed
from stages.settings.training import (
    SGD,
    Multipliers,
    Optimizer,
    PoolingSettings,
    TrainingSettings,
    View,
    WarpView,
)


class GroupSettings(TrainingSettings):
    """The co-attention graph network on groups of images (Group-WSSS, Li et al. 2021).

    The defaults are the release's, but for its schedule, which depends on the iterations: a factor
    of 0.1 after 5 and after 10 of 15 epochs.
    """

    network_kind = "group"
    multipliers: Multipliers = (1.0, 2.0, 10.0, 20.0)
    view: View = WarpView(flip=False, jitter=0.3, hue=0.1, resampling="antialias")
    optimizer: Optimizer = SGD(nesterov=True, decay_biases=True)
    group_size: Annotated[int, Field(ge=2)] = Field(
        3, description="number of images that the network sees together"
    )
    partner_draws: Count | None = Field(
        1000,
        description="failed random draws of a partner with equal labels after which one common"
        " label is enough; null: one common label only where no image has equal labels",
    )
    before_weight: Fraction = Field(
        0.4, description="weight of the classification loss before the graph"
    )
    pooling: PoolingSettings = Field(PoolingSettings(), description="class maps to class scores")
    accumulate_from_epoch: Annotated[int, Field(ge=0)] = Field(
        1, description="first epoch, counted from 0, whose attention maps are kept"
    )
    accumulate_score: Fraction = Field(
        0.1, description="attention maps of classes with a lower score are not kept"
    )


class GroupCamSettings(Block):
    """The attention maps of the group network that the pseudo labels are made from."""

    maps: str | None = Field(
        None,
        description="folder of `{id}_{class from 0}.png` to read instead of computing maps",
    )
    source: Literal["accumulated", "network", "both"] = Field(
        "accumulated",
        description="maps kept during training (Group-WSSS), maps of the trained network, or their"
        " maximum",
    )
    groups: Count = Field(
        2, description="number of groups that the trained network sees an image in"
    )
    size: Count = Field(
        256, description="side, in pixels, of the square that images are resized to for it"
    )
    seed: Seed = Field(0, description="random seed of these groups")
    precision: Precision = "float32"
    power: Positive = Field(1.0, description="exponent of every map")
