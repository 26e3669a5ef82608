"""Pseudo labels."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stages.settings.base import Block, Fraction
from stages.settings.inference import CRFSettings


class PseudoLabelSettings(Block):
    """Pseudo labels from attention and saliency (Group-WSSS), or from class scores (PSA)."""

    masks: str | None = Field(
        None, description="folder of masks `{id}.png` to read instead of computing pseudo labels"
    )
    attention: Literal["group", "cam", "maximum", "random_walk"] = Field(
        "group",
        description="maps of the group network, class activation maps, their maximum, or class"
        " activation maps after PSA's random walk",
    )
    rule: Literal["saliency_guided", "argmax"] = Field(
        "saliency_guided",
        description="how maps become labels: Group-WSSS' rule with saliency, or the highest score,"
        " the one of PSA",
    )
    conflict_threshold: Fraction = Field(
        0.9, description="a pixel with two scores above it becomes void"
    )
    attention_threshold: Fraction = Field(
        0.8, description="a background pixel with more attention becomes void"
    )
    saliency_threshold: Annotated[int, Field(ge=0, le=256)] = Field(
        32, description="a background pixel with this saliency, of 0 to 255, or more becomes void"
    )
    minimum_foreground: Fraction = Field(
        0.01, description="an image with a smaller fraction of foreground becomes void"
    )
    background_score: Fraction = Field(
        0.2, description="background score of the rule argmax; not used after a random walk"
    )
    crf: CRFSettings | None = Field(
        None,
        description="CRF on the scores of the rule argmax, which PSA's authors recommend; null:"
        " no CRF",
    )

    @model_validator(mode="after")
    def _crf_has_scores(self) -> "PseudoLabelSettings":
        if self.crf is not None and self.rule != "argmax":
            raise ValueError("crf: is used only with rule: argmax; set it to null")
        return self
