"""Predictions of segmentation networks, and the dense CRF that refines them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from stages.settings.base import Block, Count, NonNegative, Precision, Seed, Zoom

# How maps are resized, all bilinearly: with half-pixel centres (OpenCV, PyTorch), with the corner
# pixels kept in place (SciPy's zoom, Caffe's Interp), or as TensorFlow 1 does.
Resampling = Literal["half_pixel", "corner_aligned", "tf_legacy"]
# Images may also be smoothed as they shrink: bilinear or bicubic as in Pillow.
ImageResampling = Literal["antialias", "bicubic", "half_pixel", "corner_aligned", "tf_legacy"]
Sigma = Annotated[float, Field(ge=0.1)]  # the CRF's lattice cannot index finer cells


class CRFSettings(Block):
    """Dense CRF (Krähenbühl & Koltun 2011): Potts model, symmetric normalisation."""

    iterations: Annotated[int, Field(ge=0)] = Field(
        10, description="number of mean-field iterations"
    )
    gaussian_weight: NonNegative = Field(3.0, description="weight of the spatial kernel")
    gaussian_sxy: Sigma = Field(
        3.0, description="standard deviation of the spatial kernel, in pixels"
    )
    bilateral_weight: NonNegative = Field(
        10.0, description="weight of the kernel over position and colour"
    )
    bilateral_sxy: Sigma = Field(
        80.0, description="its standard deviation over position, in pixels"
    )
    bilateral_srgb: Sigma = Field(
        13.0, description="its standard deviation over colour, in levels of 0 to 255"
    )
    backend: Literal["auto", "native", "torch", "pydensecrf"] = Field(
        "auto", description="implementation; all give the same result up to rounding"
    )
    stride: Count = Field(
        1,
        description="2: only every second pixel of every second row sends messages, in half the"
        " time and with slightly different results; must not exceed either standard deviation",
    )

    @model_validator(mode="after")
    def _stride_fits(self) -> Self:
        if self.stride > 1 and self.stride > min(self.gaussian_sxy, self.bilateral_sxy):
            raise ValueError("stride: must not exceed gaussian_sxy and bilateral_sxy")
        if self.stride > 1 and self.backend == "pydensecrf":
            raise ValueError("stride: the backend pydensecrf has none; set it to 1")
        return self


class MaskCRFSettings(CRFSettings):
    """The CRF on predictions. The defaults are those of DSRG's test scripts."""

    restrict_to_tags: bool = Field(
        True,
        description="in train images, allow only background and the classes of the image's labels",
    )


class ScalesSettings(Block):
    """The sizes at which a network sees an image."""

    scales: list[Zoom] = Field(
        [1.0], min_length=1, description="factors that the image is resized by"
    )
    flip: bool = Field(True, description="use the flipped image as well, at each scale")
    size: Count | None = Field(
        None,
        description="side, in pixels, of the square that images are resized to before scaling;"
        " null: the image's own size",
    )
    precision: Precision = "float32"


class PredictSettings(ScalesSettings):
    """Prediction at several scales, flipped and not."""

    resampling: ImageResampling = Field("antialias", description="how images are resized")
    map_resampling: Literal["half_pixel", "corner_aligned", "tf_legacy", "scaled_then_nearest"] = (
        Field(
            "half_pixel",
            description="how logits are resized; scaled_then_nearest: bilinear to the scaled image,"
            " then nearest to the image (DSRG's TensorFlow port)",
        )
    )
    fuse: Literal["mean", "sum", "max", "max_with_zero", "max_probabilities"] = Field(
        "mean",
        description="how the logits of all scales are combined; max_probabilities: maximum after"
        " the softmax (SPSM's VGG-16)",
    )
    fuse_on: Literal["image", "grid"] = Field(
        "image",
        description="combine at the image's size, or on the grid of the largest scale (SPSM)",
    )
    seed: Seed = Field(0, description="random seed of dropout that is kept on at inference")


class PredictImagesSettings(PredictSettings):
    """Masks of new images: prediction, then the CRF if `--crf` is given."""

    crf: CRFSettings = Field(CRFSettings(), description="the CRF")
