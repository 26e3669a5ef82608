"""Rounds of segmentation training: supervision, DSRG's growing, SPSM's selection."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from stages.settings.base import Block, Count, Fraction, NonNegative, Positive, ordered
from stages.settings.inference import (
    CRFSettings,
    MaskCRFSettings,
    PredictSettings,
    Resampling,
    Sigma,
)
from stages.settings.training import TrainingSettings


class GridCRFSettings(CRFSettings):
    """The dense CRF on the grid of the cues (DSRG): 3/12 and 80/12 cells instead of pixels."""

    gaussian_sxy: Sigma = Field(
        3 / 12, description="standard deviation of the spatial kernel, in cells"
    )
    bilateral_sxy: Sigma = Field(
        80 / 12, description="standard deviation of the other kernel over position, in cells"
    )


class DSRGSettings(Block):
    """Deep seeded region growing (Huang et al. 2018). Defaults: the authors' Caffe release."""

    grow_on: Literal["crf", "softmax"] = Field(
        "crf",
        description="probabilities that seeds grow on: after the CRF, or the network's own"
        " (TensorFlow port)",
    )
    train_unary: Literal["prob", "logprob"] = Field(
        "prob",
        description="unary energy of the CRF: -p, or -log p (SEC and the TensorFlow port); the"
        " thresholds depend on it",
    )
    foreground_threshold: Fraction = Field(
        0.85, description="a cell with a higher probability may join a class (TensorFlow port: 0.5)"
    )
    background_threshold: Fraction = Field(
        0.99, description="the same for background (TensorFlow port: 0.7)"
    )
    prefill_seeds: bool = Field(
        True,
        description="let a seed cell keep its class where the network is not sure (TensorFlow"
        " port: false)",
    )
    crf: GridCRFSettings = Field(GridCRFSettings(), description="the CRF")
    crf_image: Resampling = Field(
        "corner_aligned",
        description="how the CRF's image is resized to the grid (TensorFlow port: tf_legacy, which"
        " also truncates to whole levels); its channels are blue, green, red as in both programs",
    )
    crf_gradient: Literal["one_minus_q", "none"] = Field(
        "one_minus_q",
        description="gradient of the constraint loss through the CRF: times 1 - q, or none (SEC"
        " and the TensorFlow port)",
    )
    constraint_clip: Annotated[tuple[Positive, Positive], AfterValidator(ordered)] | None = Field(
        (0.05, 20.0),
        description="range that q/p is clipped to in the constraint loss; null: no clipping (SEC"
        " and the TensorFlow port)",
    )
    constraint_weight: NonNegative = Field(1.0, description="weight of the constraint loss")


class SelectionSettings(Block):
    """Selection of high-quality pixels and masks (a reconstruction of SPSM, Zhou et al. 2018)."""

    threshold: Fraction = Field(
        0.55, description="minimum quality of a mask that is kept (SPSM: 0.55, ResNet-101: 0.8)"
    )
    minimum_per_class: Annotated[int, Field(ge=0)] = Field(
        30, description="number of masks of each class to keep even if their quality is lower"
    )
    foreground_confidence: Fraction = Field(
        0.85, description="minimum probability of a foreground pixel that is kept"
    )
    background_confidence: Fraction = Field(
        0.95, description="minimum probability of a background pixel that is kept"
    )
    witness_foreground_saliency: Fraction = Field(
        0.5, description="saliency of this value or more confirms foreground"
    )
    witness_background_saliency: Fraction = Field(
        0.3, description="saliency below this value confirms background"
    )
    require_witness: bool = Field(
        True,
        description="keep a pixel only if saliency or the first masks confirm the network's class",
    )
    promote_saliency: Fraction = Field(
        0.8, description="a background pixel with this saliency or more may become foreground"
    )
    promote_probability: Fraction = Field(
        0.3, description="probability that the class it becomes must have"
    )
    drop: Fraction = Field(
        0.06, description="a foreground pixel with less saliency becomes background"
    )
    harmonic: Fraction = Field(
        0.3,
        description="first masks: minimum harmonic mean of attention and saliency of a foreground"
        " pixel",
    )
    attention: Fraction = Field(
        0.8, description="first masks: attention of this value or more replaces saliency"
    )
    background_attention: Fraction = Field(
        0.2, description="first masks: a background pixel has less attention"
    )
    background_power: Positive = Field(
        16.0, description="first masks: exponent of the background score (1 - attention)^power"
    )
    crf: CRFSettings = Field(CRFSettings(), description="the CRF of the first masks")


class TargetSettings(Block):
    """What a round is trained on."""

    supervise: Literal["pseudo_labels", "predictions", "selected", "ground_truth"]
    masks: str | None = None
    mask_list: str | None = None
    selection: SelectionSettings = SelectionSettings()


class RoundSettings(TrainingSettings):
    """One round of segmentation training, and the prediction that follows it."""

    supervise: Literal["seeds", "pseudo_labels", "predictions", "selected", "ground_truth"] = Field(
        description="what the round is trained on; predictions are those of the round before, after"
        " the CRF, and selected are pixels and masks chosen from them (SPSM)"
    )
    method: Literal["cross_entropy", "dsrg"] = Field(
        "cross_entropy", description="loss; dsrg, which grows seeds, goes with supervise: seeds"
    )
    masks: str | None = Field(
        None,
        description="folder of masks `{id}.png` to train on instead; supervise then only says what"
        " they stand for",
    )
    mask_list: str | None = Field(
        None, description="list of the images to train on; null: all that have a mask"
    )
    loss_stride: Count = Field(1, description="take the loss at every n-th pixel")
    label_sampling: Resampling = Field(
        "half_pixel",
        description="how masks are resized at that stride; should match predict.map_resampling;"
        " corner_aligned takes every n-th pixel and needs a crop of 8 n + 1 at stride 8",
    )
    dsrg: DSRGSettings = Field(DSRGSettings(), description="method dsrg")
    selection: SelectionSettings = Field(SelectionSettings(), description="supervise: selected")
    predict: PredictSettings = Field(
        PredictSettings(), description="keys that override the block predict"
    )
    crf: MaskCRFSettings = Field(MaskCRFSettings(), description="keys that override the block crf")

    @model_validator(mode="after")
    def _supervision_fits_the_method(self) -> "RoundSettings":
        if (self.supervise == "seeds") != (self.method == "dsrg"):
            raise ValueError("method: dsrg and supervise: seeds need each other")
        if self.supervise == "seeds" and self.masks:
            raise ValueError("masks: cannot replace seeds; give seeds.cues")
        if self.mask_list and not self.masks:
            raise ValueError("mask_list: is used only with masks")
        if self.loss_stride > self.crop:
            raise ValueError("loss_stride: must not exceed the crop")
        if self.label_sampling == "corner_aligned" and (self.crop - 1) % self.loss_stride:
            fits = self.crop - (self.crop - 1) % self.loss_stride
            raise ValueError(
                "label_sampling: corner_aligned needs a crop of one pixel more than a multiple of"
                f" loss_stride, such as {fits}, not {self.crop}; or set half_pixel"
            )
        return self

    def targets(self) -> TargetSettings:
        """What the round's targets depend on."""
        return TargetSettings(**self.model_dump(include=set(TargetSettings.model_fields)))
