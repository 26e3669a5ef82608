"""From image-level labels to localisation cues: classifier, CAM, saliency, seeds."""

from typing import Literal

from pydantic import Field, model_validator

from stages.settings.base import Block, Count, Fraction, PathText, Positive
from stages.settings.inference import ImageResampling, Resampling, ScalesSettings
from stages.settings.training import PoolingSettings, TrainingSettings


class ClassifierSettings(TrainingSettings):
    """The multi-label classifier that class activation maps are taken from (Zhou et al. 2016)."""

    network_kind = "cls"
    pooling: PoolingSettings = Field(PoolingSettings(), description="class maps to class scores")

    @model_validator(mode="after")
    def _is_trained_first(self) -> "ClassifierSettings":
        if self.weights in ("classifier", "previous"):
            raise ValueError(f"weights: there is no {self.weights} before the classifier")
        return self


class CamSettings(ScalesSettings):
    """Class activation maps, averaged over scales and flips (PSA)."""

    maps: str | None = Field(
        None, description="folder of PSA's or IRN's `{id}.npy` to read instead of computing maps"
    )
    power: Positive = Field(
        1.0, description="exponent of every map; 0.5 raises low values (PSA's VGG-16)"
    )
    resampling: ImageResampling = Field(
        "antialias", description="how images are resized (PSA: bicubic)"
    )
    map_resampling: Resampling = Field(
        "half_pixel", description="how maps are resized (SEC and DSRG: corner_aligned)"
    )


class SaliencySettings(Block):
    """Saliency maps: given, by U²-Net, or from boundary connectivity (Zhu et al. 2014)."""

    maps: str | None = Field(
        None, description="folder of grey `{id}.png` to read instead of computing maps"
    )
    model: PathText | None = Field(
        None,
        description="ONNX file of U²-Net (Qin et al. 2020), such as rembg's u2net.onnx, to compute"
        " the maps with; needs `seedbed[onnx]`",
    )
    superpixels: Count = Field(
        200, description="number of superpixels of an image, without maps and model"
    )

    @model_validator(mode="after")
    def _maps_have_one_source(self) -> "SaliencySettings":
        if self.maps and self.model:
            raise ValueError("model: give either model or maps")
        return self


class SeedSettings(Block):
    """Localisation cues on a coarse grid (SEC, DSRG)."""

    cues: PathText | None = Field(
        None, description="file localization_cues.pickle to read instead of computing cues"
    )
    cue_list: PathText | None = Field(
        None, description="its input_list.txt; null: the cues are in the order of the train list"
    )
    grid: Count = Field(41, description="number of cells on each side of the grid")
    foreground_fraction: Fraction = Field(
        0.2,
        description="a class has a cue where its CAM exceeds this share of its maximum (SEC)",
    )
    background_threshold: Fraction = Field(
        0.06, description="background has a cue where saliency is below this value (DSRG)"
    )
    conflict: Literal["fg_over_bg", "bg_over_fg", "smaller_wins", "ignore", "multi_hot"] = Field(
        "fg_over_bg", description="which class a cell with several cues is given"
    )
    foreground_saliency: Fraction = Field(
        0.0, description="minimum saliency of a foreground cue; 0: no condition"
    )

    @model_validator(mode="after")
    def _list_belongs_to_given_cues(self) -> "SeedSettings":
        if self.cue_list and not self.cues:
            raise ValueError("cue_list: is used only with cues")
        return self
