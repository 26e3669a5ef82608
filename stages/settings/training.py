"""What all trainings have in common: network, view of the images, optimizer and schedule."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
    with_config,
)
from typing_extensions import TypedDict

from seedbed.models.registry import (
    Kind,
    NetworkInfo,
    names_of_kind,
    network_info,
    pretrained_file,
)
from seedbed.runtime.errors import UserError
from stages.settings.base import (
    Block,
    Count,
    Fraction,
    NonNegative,
    PathText,
    Positive,
    Precision,
    Seed,
    Zoom,
    ordered,
)


def _whole_number(value: Any) -> Any:  # noqa: ANN401 - any value of a config
    """The number for text such as `--config` gives; everything else as it is."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _option(description: str, **bounds: float) -> Any:  # noqa: ANN401 - as Field
    """A keyword of networks, whose default is the network's own."""
    own = {"default": "the network's own"}
    return Field(description=description, json_schema_extra=own, **bounds)


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
class NetworkOptions(TypedDict, total=False):
    """Options that only some networks have."""

    output_stride: Annotated[
        Literal[4, 8, 16, 32],
        BeforeValidator(_whole_number),
        _option("stride of the backbones tiny, squeezenet1_0, mobilenet_v2 and most of timm's"),
    ]
    dropout: Annotated[float, _option("dropout rate before the class scores", ge=0, lt=1)]
    width: Annotated[int, _option("number of channels of the head", ge=1)]
    rate: Annotated[int, _option("dilation rate of the head", ge=1)]
    skip: Annotated[bool, _option("add low-level features to the head's input")]
    graph_dropout_in_eval: Annotated[
        bool, _option("group networks: keep the graph dropout on at inference (Group-WSSS)")
    ]
    preprocessing: Annotated[
        Literal["caffe", "imagenet"],
        _option("resnet101: preprocess images as Caffe (BGR minus mean) or as torchvision"),
    ]
    stride_in_first: Annotated[
        bool, _option("resnet101: stride in the first convolution of a block, as in Caffe")
    ]
    norm_epsilon: Annotated[float, _option("resnet101: epsilon of batch normalisation", gt=0)]
    padding: Annotated[
        Literal["caffe", "tf"], _option("pad convolutions and pools as Caffe or as TensorFlow")
    ]
    dropout_in_eval: Annotated[bool, _option("vgg16_largefov: keep dropout on at inference (SPSM)")]
    checkpointing: Annotated[
        bool, _option("resnet: gradient checkpointing, half the memory for more time")
    ]


class ViewSettings(Block):
    """Random changes that every view has."""

    scale: Annotated[tuple[Zoom, Zoom], AfterValidator(ordered)] = Field(
        (1.0, 1.0), description="range of the random zoom factor; [1, 1]: no zoom"
    )
    rotate: Annotated[float, Field(ge=0, le=180)] = Field(
        0.0, description="maximum random rotation in either direction, in degrees"
    )
    flip: bool = Field(True, description="flip horizontally with probability 0.5")
    jitter: Fraction = Field(
        0.0,
        description="maximum relative change of brightness, contrast and saturation, in random"
        " order, as torchvision's ColorJitter",
    )
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.0, description="maximum change of hue, as a fraction of the colour circle"
    )
    padding: Literal["image_mean", "network_mean", "black"] = Field(
        "network_mean",
        description="colour outside the image; network_mean, which preprocessing turns into 0, is"
        " what the published systems use (PSA's AffinityNet: black)",
    )

    def shows_whole_image(self) -> bool:
        """Whether a view is the image, resized, recoloured and mirrored at most."""
        return False


class WarpView(ViewSettings):
    """The whole image, resized to the square input; its aspect ratio changes."""

    kind: Literal["warp"] = "warp"
    resampling: Literal["half_pixel", "antialias", "tf_legacy"] = Field(
        "half_pixel",
        description="how images are resized: bilinear as in OpenCV (half_pixel), as in Pillow"
        " (antialias; Group-WSSS), both to whole levels, or as in TensorFlow 1",
    )

    def shows_whole_image(self) -> bool:
        """See `ViewSettings`."""
        return self.scale == (1.0, 1.0) and self.rotate == 0


class CropView(ViewSettings):
    """A square cut out of the image at a random place; its aspect ratio is kept."""

    kind: Literal["crop"] = "crop"
    long_side: Annotated[tuple[Count, Count], AfterValidator(ordered)] | None = Field(
        None,
        description="range of the random length, in pixels, that the longer side of the image is"
        " resized to before zoom and crop; null: no resizing",
    )
    placement: Literal["random", "top_left"] = Field(
        "random", description="where an image smaller than the crop is placed in it"
    )
    flip_before_padding: bool = Field(
        True,
        description="flip the image before it is padded and cropped, so that padding is right and"
        " below with `placement: top_left` (ResNet-38, SPSM); false: flip the padded crop (DSRG's"
        " retraining)",
    )
    scale_resampling: Literal["half_pixel", "tf_legacy"] = Field(
        "half_pixel",
        description="how `scale` resizes: bilinear in one step with rotation and crop (half_pixel),"
        " or first to whole sizes, cut off, as in TensorFlow 1: images bilinear, masks nearest"
        " (SPSM)",
    )


class SGD(Block):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="momentum")
    nesterov: bool = Field(False, description="use Nesterov momentum")
    weight_decay: NonNegative = Field(5e-4, description="L2 penalty of the weights")
    decay_biases: bool = Field(
        False, description="apply it to biases and to the scales of batch and layer norms as well"
    )

    @model_validator(mode="after")
    def _nesterov_has_momentum(self) -> "SGD":
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: needs a momentum above 0")
        return self


class AdamW(Block):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    weight_decay: NonNegative = Field(0.01, description="weight decay of the weights (PyTorch)")
    decay_biases: bool = Field(
        False, description="apply it to biases and to the scales of batch and layer norms as well"
    )


class ConstantSchedule(Block):
    """The learning rate stays the same."""

    kind: Literal["constant"] = "constant"


class PolySchedule(Block):
    """The learning rate falls to 0 as (1 - iteration / iterations) ^ power (DeepLab)."""

    kind: Literal["poly"] = "poly"
    power: Positive = Field(0.9, description="exponent")


Factor = Annotated[float, Field(gt=0, le=1)]


class StepSchedule(Block):
    """The learning rate is multiplied by a factor at regular intervals."""

    kind: Literal["step"] = "step"
    every: Count = Field(description="interval, in iterations")
    factor: Factor = Field(0.1, description="factor")


class MultiStepSchedule(Block):
    """The learning rate is multiplied by a factor at given iterations."""

    kind: Literal["multi_step"] = "multi_step"
    milestones: list[Count] = Field(min_length=1, description="iterations, in increasing order")
    factor: Factor = Field(0.1, description="factor")

    @model_validator(mode="after")
    def _milestones_increase(self) -> "MultiStepSchedule":
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError("milestones: must increase")
        return self


class OneCycleSchedule(Block):
    """The learning rate rises and then falls along a cosine (PyTorch's OneCycleLR)."""

    kind: Literal["one_cycle"] = "one_cycle"


View = Annotated[
    WarpView | CropView,
    Field(discriminator="kind", description="what the network sees of an image, and augmentation"),
]
Optimizer = Annotated[
    SGD | AdamW, Field(discriminator="kind", description="how gradients change the weights")
]
Schedule = Annotated[
    ConstantSchedule | PolySchedule | StepSchedule | MultiStepSchedule | OneCycleSchedule,
    Field(discriminator="kind", description="the learning rate over the iterations"),
]
# The kinds of each block that has several.
KINDS: dict[str, tuple[str, ...]] = {
    "view": ("warp", "crop"),
    "optimizer": ("sgd", "adamw"),
    "schedule": ("constant", "poly", "step", "multi_step", "one_cycle"),
}


class PoolingSettings(Block):
    """How class maps become class scores."""

    top_weight: Fraction = Field(
        0.0,
        description="weight of the mean of the highest cells, against the mean of all; 0 is global"
        " average pooling",
    )
    top_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        0.3, description="fraction of the cells that counts as the highest"
    )


Network = Annotated[
    str, Field(description="name of the network, see seedbed.build; `timm:NAME/…` is any of timm's")
]
Iterations = Annotated[Count, Field(description="number of updates of the weights")]
Batch = Annotated[
    Count, Field(description="number of images of an update; of a group network, of groups")
]
Crop = Annotated[Count, Field(description="side of the network's square input, in pixels")]
LearningRate = Annotated[
    Positive, Field(description="highest learning rate, before schedule and multipliers")
]
Multipliers = Annotated[
    tuple[NonNegative, NonNegative, NonNegative, NonNegative],
    Field(
        description="factors of the learning rate for weights and biases of the backbone, then for"
        " weights and biases of new layers"
    ),
]


class TrainingSettings(Block):
    """Keys that every training has. The first five have no default."""

    network_kind: ClassVar[Kind] = "seg"

    network: Network
    iterations: Iterations
    batch: Batch
    crop: Crop
    learning_rate: LearningRate
    multipliers: Multipliers = (1.0, 1.0, 1.0, 1.0)
    options: NetworkOptions = Field({}, description="further options of the network")
    weights: PathText | None = Field(
        None,
        description="file of initial weights, `classifier` for the run's own classifier, in a round"
        " `previous` for the round before, or `pretrained` for the published weights that the name"
        " of a network of timm stands for, in weights/timm/NAME.safetensors; null: random weights",
    )
    new_head: bool | Literal["partial"] = Field(
        False,
        description="initialise the layers after the backbone at random even if the file of weights"
        " has them (SPSM, or weights of other classes); `partial`: only those that have another"
        " shape in the file",
    )
    seed: Seed = Field(
        0, description="random seed of initialisation, order, augmentation and dropout"
    )
    accumulation: Count = Field(
        1,
        description="number of equal parts in which a batch is computed; the loss (over labelled"
        " pixels, cells or pairs) and batch norm are normalised over a part. On a GPU the parts run"
        " one after another, which saves memory; on a CPU in parallel on `run.compute_threads`"
        " threads, which is faster than sharing every operation",
    )
    precision: Precision = "float32"
    view: View = WarpView()
    optimizer: Optimizer = SGD()
    schedule: Schedule = ConstantSchedule()

    @model_validator(mode="after")
    def _accumulation_divides_the_batch(self) -> "TrainingSettings":
        if self.batch is not None and self.batch % self.accumulation:
            raise ValueError("accumulation: must divide the batch")
        return self

    @model_validator(mode="after")
    def _network_is_known_and_accepts_the_options(self) -> "TrainingSettings":
        if self.network is None:
            return self
        info = _info_of_kind(self.network, self.network_kind)
        for key in self.options:
            if key not in info.options:
                raise ValueError(f"options.{key}: {self.network} has no such option")
        self._check_input(info)
        return self

    @model_validator(mode="after")
    def _pretrained_weights_are_known(self) -> "TrainingSettings":
        if self.weights == "pretrained" and self.network is not None:
            try:
                pretrained_file(self.network)
            except UserError as error:
                raise ValueError(f"weights: {error}") from None
        return self

    def _check_input(self, info: NetworkInfo) -> None:
        stride = self.options.get("output_stride")
        if stride and stride not in info.output_strides:
            allowed = ", ".join(map(str, info.output_strides))
            raise ValueError(f"options.output_stride: of {self.network} it is one of {allowed}")
        if self.crop is None:
            return
        if self.crop < info.min_crop:
            raise ValueError(f"crop: {self.network} needs {info.min_crop} or more, not {self.crop}")
        if self.crop % info.crop_multiple:
            raise ValueError(f"crop: must be a multiple of {info.crop_multiple} for {self.network}")


def _info_of_kind(network: str, kind: Kind) -> NetworkInfo:
    """What is known of a network; ValueError if it is unknown or of another kind."""
    try:
        info = network_info(network)
    except UserError:
        info = None
    if info is None or info.kind != kind:
        fitting = ", ".join(names_of_kind(kind))
        raise ValueError(f"network: {network} is not one of {fitting}")
    return info


class SharedTrainingSettings(TrainingSettings):
    """What the rounds share; a round may override any key. What has no default may be left out."""

    network: Network | None = None
    iterations: Iterations | None = None
    batch: Batch | None = None
    crop: Crop | None = None
    learning_rate: LearningRate | None = None
