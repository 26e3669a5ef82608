"""Evaluation, audit and report."""

from typing import Annotated, Literal

from pydantic import Field

from stages.settings.base import Block, Count, Fraction, PathText


class EvaluateSettings(Block):
    """The final mIoU."""

    split: Literal["train", "val"] = Field("val", description="images to evaluate on")
    masks: PathText | None = Field(
        None, description="folder of masks `{id}.png` to evaluate instead of the last round's"
    )
    variant: Literal["voc", "dsrg", "psa", "seam", "tf"] = Field(
        "voc", description="definition of mIoU that comes first in miou.txt"
    )


class AuditSettings(Block):
    """How scores become masks so that every step can be evaluated."""

    cam_background: Fraction = Field(
        0.2, description="background score that class activation maps compete with"
    )
    saliency_threshold: Fraction = Field(
        0.5, description="minimum saliency of a foreground pixel in the control saliency × tags"
    )
    label_confidence: Fraction = Field(
        0.7, description="probability of the given label where a CRF starts from labels"
    )
    tuning_every: Annotated[int, Field(ge=2)] | None = Field(
        None,
        description="every n-th train image, from the first of the list on, is one whose mask may"
        " be looked at to choose settings; these and the others are scored apart as well. null: no"
        " such part",
    )


class ReportSettings(Block):
    """The HTML page that shows the run."""

    images: Count = Field(
        1500, description="maximum number of images per split, evenly spaced from worst to best"
    )
    side: Annotated[int, Field(ge=32)] = Field(
        320, description="longer side of a picture, in pixels"
    )
