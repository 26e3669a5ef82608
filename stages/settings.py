"""Settings of every stage: defaults, bounds, meaning and source. Imports no torch."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
    with_config,
)
from typing_extensions import TypedDict

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Sigma = Annotated[float, Field(ge=0.1)]  # the CRF's lattice cannot number finer cells
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]
# Where the samples of a resized map lie: between the borders (OpenCV, PyTorch), corners on corners
# (SciPy's zoom, Caffe's Interp), or at multiples of the ratio (TensorFlow 1).
Resampling = Literal["half_pixel", "corner_aligned", "tf_legacy"]
# The same of images that shrink; the first two look at all the pixels between the samples.
ImageResampling = Literal["antialias", "bicubic", "half_pixel", "corner_aligned", "tf_legacy"]


def _plain_path(path: str) -> str:
    """A path that can stand between quotes in a shell command and holds no wildcard."""
    if not path.strip() or set(path) & set("'{}\n\0"):
        raise ValueError("a path is not empty and holds no quote, brace or line break")
    return path


def _no_percentage(zoom: float) -> float:
    if zoom > 10:
        raise ValueError("1 is the image's own size, and 10 times that the largest")
    return zoom


Zoom = Annotated[Positive, AfterValidator(_no_percentage)]
PathText = Annotated[str, AfterValidator(_plain_path)]


class Block(BaseModel):
    """A block of the config: unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_not_true_or_false(cls, value: Any, info: ValidationInfo) -> Any:  # noqa: ANN401
        """YAML takes `on` and `yes` for true, which would pass for 1."""
        if (
            isinstance(value, bool)
            and cls.model_fields[info.field_name or ""].annotation is not bool
        ):
            raise ValueError("neither true nor false will do")
        return value


class RunSettings(Block):
    """Where and how the run works; never changes a result."""

    data: PathText = Field("data", description="folder of the data sets and of the initial weights")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where networks run")
    shards: Count = Field(1, description="jobs that each image-wise step is cut into")
    compute_threads: Count = Field(2, description="threads of a training on the CPU")
    deterministic: bool = Field(True, description="same bytes on every CUDA run, more slowly")
    training_processes: Count = Field(
        1, description="processes of one training, each with a GPU of its own; they share its batch"
    )


class MiniSettings(Block):
    """The made-up default data set; its generator seed is part of its folder's name."""

    train: Count = Field(240, description="train images")
    val: Count = Field(80, description="val images")
    size: Annotated[int, Field(ge=32)] = Field(128, description="side of an image in pixels")


class FolderSettings(Block):
    """A folder of images and a table of their labels; paths are relative to run.data."""

    images: str = Field(description="folder of the images")
    labels: str = Field(description="CSV: image, labels and perhaps split")
    masks: str | None = Field(None, description="folder of {id}.png with class ids, or null")


class CocoSettings(Block):
    """COCO's instance annotations; paths are relative to run.data."""

    instances: str = Field(description="JSON of the train images")
    images: str = Field(description="folder of the train images")
    val_instances: str | None = Field(None, description="JSON of the val images, or null")
    val_images: str | None = Field(None, description="their folder; null: that of the train images")


class ConvertSettings(Block):
    """The data set: a VOC devkit and, if there is one, an SBD release; or `folder`, or `coco`."""

    devkit: str = Field("VOCdevkit/VOC2012", description="VOC devkit, relative to run.data")
    folder: FolderSettings | None = Field(None, description="a folder of images instead, or null")
    coco: CocoSettings | None = Field(None, description="COCO's annotations instead, or null")
    sbd: str | None = Field(None, description="SBD's benchmark_RELEASE/dataset, or null")
    train_list: str = Field("train_aug", description="list in ImageSets/Segmentation")
    val_list: str = Field("val", description="list in ImageSets/Segmentation")
    test_list: str | None = Field(None, description="list without masks, or null")
    label_source: Literal["annotations", "cls_labels", "train_cls", "cues"] = Field(
        "annotations",
        description="the one source of the image-level labels; cues: the file of seeds.cues",
    )
    classes: list[str] | None = Field(
        None,
        min_length=1,
        description="class names in order; null: those that the train images' labels name",
    )
    train_masks: str | None = Field(
        None, description="devkit folder of the train masks instead of VOC's own and SBD's"
    )
    shuffle_tags: bool = Field(
        False, description="control: deal the label vectors of the train images out at random"
    )
    seed: Seed = Field(0, description="of shuffle_tags")

    @model_validator(mode="after")
    def _one_layout_with_its_own_labels(self) -> "ConvertSettings":
        if self.folder and self.coco:
            raise ValueError("folder and coco: give one of the layouts")
        if (self.folder or self.coco) and self.label_source != "annotations":
            raise ValueError(f"label_source: {self.label_source} goes with a devkit alone")
        return self

    @model_validator(mode="after")
    def _nothing_stands_twice(self) -> "ConvertSettings":
        lists = [name for name in (self.train_list, self.val_list, self.test_list) if name]
        if len(set(lists)) < len(lists):
            raise ValueError("train_list, val_list and test_list: no two may be the same")
        if len(set(self.classes or ())) < len(self.classes or ()):
            raise ValueError("classes: names a class twice")
        return self


class CRFSettings(Block):
    """Dense CRF (Krähenbühl & Koltun 2011), Potts, symmetric normalisation."""

    iterations: Annotated[int, Field(ge=0)] = Field(10, description="mean-field iterations")
    gaussian_weight: NotNegative = Field(3.0, description="of nearness")
    gaussian_sxy: Sigma = Field(3.0, description="pixels")
    bilateral_weight: NotNegative = Field(10.0, description="of nearness and like colour")
    bilateral_sxy: Sigma = Field(80.0, description="pixels")
    bilateral_srgb: Sigma = Field(13.0, description="grey levels")
    backend: Literal["auto", "native", "torch", "pydensecrf"] = Field(
        "auto", description="which program solves it: the same results but for rounding"
    )


def _option(description: str, **bounds: float) -> Any:  # noqa: ANN401 - as Field
    """An option of networks, which have their own defaults."""
    own = {"default": "the network's own"}
    return Field(description=description, json_schema_extra=own, **bounds)


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
class NetworkOptions(TypedDict, total=False):
    """Options that only some networks have."""

    output_stride: Annotated[
        Literal[4, 8, 16, 32], _option("of the backbones tiny, squeezenet1_0 and mobilenet_v2")
    ]
    dropout: Annotated[float, _option("before the class scores", ge=0, lt=1)]
    width: Annotated[int, _option("channels of the head", ge=1)]
    rate: Annotated[int, _option("dilation of the head", ge=1)]
    skip: Annotated[bool, _option("refine by low features")]
    graph_dropout_in_eval: Annotated[bool, _option("group: dropout stays on (Group-WSSS)")]
    preprocessing: Annotated[
        Literal["caffe", "imagenet"], _option("resnet101: images as Caffe or as torchvision has")
    ]
    stride_in_first: Annotated[bool, _option("resnet101: stride in a block's first layer")]
    norm_epsilon: Annotated[float, _option("resnet101: of batch norm", gt=0)]
    padding: Annotated[Literal["caffe", "tf"], _option("as Caffe or as TensorFlow pads")]
    dropout_in_eval: Annotated[bool, _option("vgg16_largefov: dropout stays on (SPSM)")]
    checkpointing: Annotated[bool, _option("resnet: about half the memory, more time")]


SEGMENTATION = ("_seg", "_aspp", "_largefov", "_deeplab")


class TrainingSettings(Block):
    """What every training has in common."""

    kinds: ClassVar[tuple[str, ...]] = SEGMENTATION  # endings of the networks' names

    network: str = Field("tiny_seg", description="name for seedbed.models.build")
    options: NetworkOptions = Field({}, description="further options of the network")
    weights: PathText | None = Field(
        None,
        description="initial weights, relative to run.data, or the run's own: `classifier`, and in"
        " a round `previous`, the round before",
    )
    new_head: bool = Field(
        False,
        description="begin the layers after the backbone anew, even where the weights hold them"
        " (SPSM; weights for other classes)",
    )
    seed: Seed = Field(0, description="of initialisation, order, augmentation and dropout")
    iterations: Count = Field(300, description="updates of the weights")
    batch: Count = Field(16, description="images an update; of a group network, groups")
    accumulation: Count = Field(
        1, description="parts that a batch is computed in, one after the other, to save memory"
    )
    geometry: Literal["warp", "crop"] = Field(
        "warp", description="warp: the whole image onto the crop's square; crop: aspect kept"
    )
    crop: Count = Field(128, description="side of the network's input in pixels")
    long_side: tuple[Count, Count] | None = Field(
        None, description="crop: range of the longer side before scale, pixels; null: as it is"
    )
    scale: tuple[Zoom, Zoom] = Field((1.0, 1.0), description="range of random zoom")
    rotate: Annotated[float, Field(ge=0, le=180)] = Field(0.0, description="degrees, both ways")
    flip: bool = Field(True, description="mirror with probability one half")
    jitter: Share = Field(0.0, description="brightness, contrast and saturation, ± share")
    hue: Annotated[float, Field(ge=0, le=0.5)] = Field(0.0, description="± share of the circle")
    padding: Literal["image_mean", "network_mean", "black"] = Field(
        "image_mean", description="colour beyond the image"
    )
    placement: Literal["random", "top_left"] = Field(
        "random", description="where an image smaller than the crop lies in it"
    )
    resampling: Literal["half_pixel", "antialias", "tf_legacy"] = Field(
        "half_pixel",
        description="of warped images (Group-WSSS: antialias, which is Pillow's bilinear)",
    )
    optimizer: Literal["adamw", "sgd"] = Field("adamw", description="sgd: with momentum")
    learning_rate: Positive = Field(5e-3, description="at its highest, before the multipliers")
    multipliers: tuple[NotNegative, NotNegative, NotNegative, NotNegative] = Field(
        (1.0, 1.0, 1.0, 1.0),
        description="of the rate: body weights, body biases, new weights, new biases",
    )
    weight_decay: NotNegative = Field(1e-4, description="of the weights")
    decay_biases: bool = Field(False, description="of biases and of norms' scales too")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9, description="of SGD; 5e-4 in the code of PSA and its kin, by mistake"
    )
    nesterov: bool = Field(False, description="of SGD")
    schedule: Literal["constant", "poly", "step", "multi_step", "one_cycle"] = Field(
        "one_cycle", description="of the rate over the iterations"
    )
    power: Positive = Field(0.9, description="of poly")
    step_every: Count = Field(1000, description="iterations between the steps of step")
    step_factor: Annotated[float, Field(gt=0, le=1)] = Field(
        0.1, description="of the rate at each step or milestone"
    )
    milestones: list[Count] = Field([], description="iterations at which multi_step steps")

    @model_validator(mode="after")
    def _values_go_together(self) -> "TrainingSettings":
        if not self.network.endswith(self.kinds):
            raise ValueError(f"network: {self.network} must end in one of {', '.join(self.kinds)}")
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale: the lower bound comes first")
        if self.long_side and self.long_side[0] > self.long_side[1]:
            raise ValueError("long_side: the lower bound comes first")
        if self.long_side and self.geometry == "warp":
            raise ValueError("long_side: goes with geometry: crop")
        if self.resampling != "half_pixel" and self.geometry == "crop":
            raise ValueError(f"resampling: {self.resampling} goes with geometry: warp")
        if self.batch % self.accumulation:
            raise ValueError("accumulation: must divide the batch")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: needs a momentum above 0")
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError("milestones: each is later than the one before")
        if self.schedule == "multi_step" and not self.milestones:
            raise ValueError("milestones: schedule multi_step needs some")
        return self


class PoolingSettings(Block):
    """How class maps become class scores."""

    top_weight: Share = Field(0.0, description="share of the mean of the highest cells; 0 = GAP")
    top_fraction: Annotated[float, Field(gt=0, le=1)] = Field(
        0.3, description="which share of the cells counts as the highest"
    )


class ClassifierSettings(TrainingSettings):
    """The classifier whose class activation maps start everything (Zhou et al. 2016)."""

    kinds = ("_cls", "_cam")
    network: str = "tiny_cls"
    pooling: PoolingSettings = Field(PoolingSettings(), description="class maps → class scores")

    @model_validator(mode="after")
    def _nothing_comes_before(self) -> "ClassifierSettings":
        if self.weights in ("classifier", "previous"):
            raise ValueError(f"weights: there is no {self.weights} before the classifier")
        return self


class CamSettings(Block):
    """Class activation maps over scales and flip (PSA's inference)."""

    maps: str | None = Field(
        None, description="folder of PSA's {id}.npy to take instead, relative to run.data"
    )
    scales: list[Zoom] = Field(
        [1.0, 0.5, 1.5, 2.0], min_length=1, description="sizes at which the network sees an image"
    )
    flip: bool = Field(True, description="each of them mirrored as well")
    size: Count | None = Field(None, description="warp to this square first; null: native size")
    power: Positive = Field(1.0, description="of every map; 0.5 fills peaky maps (PSA's VGG)")
    resampling: ImageResampling = Field("antialias", description="of the images (PSA: bicubic)")
    map_resampling: Resampling = Field(
        "half_pixel",
        description="of the maps; corner_aligned, as the cues' grid: SEC, DSRG",
    )


class SaliencySettings(Block):
    """Saliency maps: given, or computed without training."""

    maps: str | None = Field(None, description="folder of {id}.png, relative to run.data")
    superpixels: Count = Field(200, description="an image")


class SeedSettings(Block):
    """Localisation cues (SEC, DSRG)."""

    cues: PathText | None = Field(
        None, description="localization_cues.pickle to take instead, relative to run.data"
    )
    cue_list: PathText | None = Field(
        None, description="its input_list.txt; null: the train list's own order"
    )
    grid: Count = Field(41, description="cells on each side of the cue grid")
    foreground_fraction: Share = Field(0.2, description="of the CAM's maximum (SEC)")
    background_threshold: Share = Field(0.06, description="saliency below it (DSRG)")
    conflict: Literal["fg_over_bg", "bg_over_fg", "smaller_wins", "ignore", "multi_hot"] = Field(
        "fg_over_bg", description="what a cell with several classes becomes"
    )
    foreground_saliency: Share = Field(0.0, description="a foreground cue needs as much; 0 = off")

    @model_validator(mode="after")
    def _a_list_numbers_given_cues(self) -> "SeedSettings":
        if self.cue_list and not self.cues:
            raise ValueError("cue_list: goes with cues")
        return self


class GroupSettings(TrainingSettings):
    """Group-wise mining: the co-attention graph network (Group-WSSS)."""

    kinds = ("_group",)
    network: str = "tiny_group"
    group_size: Annotated[int, Field(ge=2)] = Field(3, description="images seen together")
    partner_draws: Count | None = Field(
        None,
        description="failed draws of an equal partner after which one label is shared (Group-WSSS:"
        " 1000); null: only where nobody is equal",
    )
    before_weight: Share = Field(0.4, description="of the loss before the graph")
    pooling: PoolingSettings = Field(PoolingSettings(), description="class maps → class scores")
    accumulate_from_epoch: Annotated[int, Field(ge=0)] = Field(
        1, description="first epoch, from 0, whose maps are kept"
    )
    accumulate_score: Share = Field(0.1, description="skip a map whose class scores lower")


class GroupCamSettings(Block):
    """Which maps of the group network go on."""

    maps: str | None = Field(
        None, description="folder of {id}_{class from 0}.png to take instead, relative to run.data"
    )
    source: Literal["accumulated", "network", "both"] = Field(
        "accumulated",
        description="maps kept while training (Group-WSSS), a separate pass, or their maximum",
    )
    groups: Count = Field(2, description="groups an image is seen in by the separate pass")
    size: Count = Field(128, description="square that the separate pass warps images to")
    seed: Seed = Field(0, description="of the partners in the separate pass")
    power: Positive = Field(1.0, description="of every map")


class AffinityScoreSettings(Block):
    """Class scores that say which cells surely are background or a class (PSA)."""

    low: str | None = Field(
        None, description="folder of PSA's {id}.npy, low alpha, to take instead; with high"
    )
    high: str | None = Field(None, description="the same of the high alpha")
    low_alpha: Positive = Field(4.0, description="background is (1 − CAM)^alpha: much background")
    high_alpha: Positive = Field(32.0, description="little background")
    crf: CRFSettings = Field(CRFSettings(), description="on the scores")

    @model_validator(mode="after")
    def _both_or_none(self) -> "AffinityScoreSettings":
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high: give both folders or none")
        return self


class AffinitySettings(TrainingSettings):
    """AffinityNet: which neighbouring cells belong together (PSA)."""

    kinds = ("_affinity",)
    network: str = "resnet38_affinity"
    geometry: Literal["warp", "crop"] = "crop"


class RandomWalkSettings(Block):
    """The walk that spreads the class activation maps (PSA)."""

    alpha: Positive = Field(16.0, description="background is (1 − CAM)^alpha")
    beta: Positive = Field(8.0, description="power of the affinities")
    steps: Count = Field(256, description="length of the walk")
    border_sources: bool = Field(False, description="link cells at the border too; PSA does not")


class PseudoLabelSettings(Block):
    """Pseudo labels from attention and saliency (Group-WSSS' gen_labels), or from scores (PSA)."""

    masks: str | None = Field(
        None, description="folder of {id}.png to take instead, relative to run.data"
    )
    attention: Literal["group", "cam", "maximum", "random_walk"] = Field(
        "group",
        description="maps of the group network, of the classifier, their maximum, or PSA's walk",
    )
    rule: Literal["saliency_guided", "argmax"] = Field(
        "saliency_guided", description="Group-WSSS' rule, or the strongest score (PSA)"
    )
    conflict_threshold: Share = Field(0.9, description="two scores above it: void")
    attention_threshold: Share = Field(0.8, description="background above it: void")
    saliency_threshold: Annotated[int, Field(ge=0, le=256)] = Field(
        32, description="background of this 8-bit saliency and more: void"
    )
    minimum_foreground: Share = Field(0.01, description="less of the image: all void")
    background_score: Share = Field(0.2, description="of rule argmax, but after a random walk")
    crf: CRFSettings | None = Field(
        None, description="of rule argmax: refine the scores first, as PSA's authors advise"
    )

    @model_validator(mode="after")
    def _walks_end_in_argmax(self) -> "PseudoLabelSettings":
        if self.attention == "random_walk" and self.rule != "argmax":
            raise ValueError("rule: after a random walk it is argmax")
        return self


class DSRGSettings(Block):
    """Deep seeded region growing (Huang et al. 2018)."""

    grow_on: Literal["crf", "softmax"] = Field("crf", description="Caffe: crf, TF port: softmax")
    train_unary: Literal["prob", "logprob"] = Field(
        "prob", description="−p (Caffe) or −log p (SEC, TF); the thresholds hang on it"
    )
    foreground_threshold: Share = Field(0.85, description="a cell above it may join a class")
    background_threshold: Share = Field(0.99, description="the same of background")
    prefill_seeds: bool = Field(True, description="Caffe: true, TF port: false")
    crf: CRFSettings = Field(
        CRFSettings(gaussian_sxy=0.25, bilateral_sxy=80 / 12),
        description="on the grid, in cells: sigmas of the image divided by 12",
    )
    crf_image: Resampling = Field(
        "corner_aligned", description="of the CRF's image; tf_legacy: the TF port, also truncated"
    )
    crf_gradient: Literal["one_minus_q", "none"] = Field(
        "one_minus_q", description="Caffe: one_minus_q, TF and SEC: none"
    )
    constraint_clip: tuple[Positive, Positive] | None = Field(
        (0.05, 20.0), description="of q/p in the constraint loss; null: SEC and TF"
    )
    constraint_weight: NotNegative = Field(1.0, description="the papers: 1")

    @model_validator(mode="after")
    def _the_lower_bound_comes_first(self) -> "DSRGSettings":
        if self.constraint_clip and self.constraint_clip[0] > self.constraint_clip[1]:
            raise ValueError("constraint_clip: the lower bound comes first")
        return self


class SelectionSettings(Block):
    """High-quality pixels and masks (a reconstruction of SPSM)."""

    threshold: Share = Field(0.55, description="least quality of a mask that is kept")
    minimum_per_class: Annotated[int, Field(ge=0)] = Field(
        30, description="best masks of a class that stay below the threshold too"
    )
    foreground_confidence: Share = Field(0.85, description="to keep a foreground pixel")
    background_confidence: Share = Field(0.95, description="to keep a background pixel")
    witness_foreground_saliency: Share = Field(0.5, description="confirms a foreground pixel")
    witness_background_saliency: Share = Field(0.3, description="below: confirms background")
    require_witness: bool = Field(True, description="a pixel needs a voice beside the network's")
    promote_saliency: Share = Field(0.8, description="background as salient may become foreground")
    promote_probability: Share = Field(0.3, description="of the class that it then becomes")
    drop: Share = Field(0.06, description="less salient than that is no foreground")
    harmonic: Share = Field(0.3, description="first masks: of attention and saliency")
    attention: Share = Field(0.8, description="first masks: stands in for saliency")
    background_attention: Share = Field(0.2, description="first masks: background has less")
    background_power: Positive = Field(16.0, description="first masks: (1 − attention)^power")
    crf: CRFSettings = Field(CRFSettings(), description="first masks")


class PredictSettings(Block):
    """Multi-scale and flip prediction."""

    scales: list[Zoom] = Field(
        [1.0], min_length=1, description="sizes at which the network sees an image"
    )
    flip: bool = Field(True, description="each of them mirrored as well")
    size: Count | None = Field(None, description="warp to this square first; null: native size")
    resampling: ImageResampling = Field("antialias", description="of the images")
    map_resampling: Literal["half_pixel", "corner_aligned", "tf_legacy", "scaled_then_nearest"] = (
        Field(
            "half_pixel",
            description="of the logits; scaled_then_nearest (the TF port): bilinear to the scaled"
            " image, nearest from there",
        )
    )
    fuse: Literal["mean", "sum", "max", "max_with_zero", "max_probabilities"] = Field(
        "mean", description="of the logits, or (max_probabilities: SPSM's VGG) after the softmax"
    )
    fuse_on: Literal["image", "grid"] = Field(
        "image", description="fuse at the image's size, or on the first scale's grid (SPSM)"
    )
    seed: Seed = Field(0, description="of a dropout that stays on")


class MaskCRFSettings(CRFSettings):
    """The CRF on predictions."""

    restrict_to_tags: bool = Field(
        True, description="train images keep only background and the classes of their tags"
    )


class RoundSettings(TrainingSettings):
    """One round of segmentation training, and the prediction that follows it."""

    supervise: Literal["seeds", "pseudo_labels", "predictions", "selected", "ground_truth"] = Field(
        description="what the round is trained on; predictions: the round before's after the CRF"
    )
    method: Literal["cross_entropy", "dsrg"] = Field(
        "cross_entropy", description="dsrg: seeds that grow, with seeds alone"
    )
    masks: str | None = Field(
        None,
        description="folder of {id}.png to train on, made elsewhere, relative to run.data;"
        " supervise then says only what they stand for",
    )
    mask_list: str | None = Field(
        None, description="list of the images to train on among them; null: all that have a mask"
    )
    loss_stride: Count = Field(2, description="the loss is taken on every n-th pixel")
    label_sampling: Resampling = Field(
        "half_pixel", description="of masks at that stride; corner_aligned: exactly every n-th"
    )
    dsrg: DSRGSettings = Field(DSRGSettings(), description="of method dsrg")
    selection: SelectionSettings = Field(SelectionSettings(), description="of supervise: selected")
    predict: PredictSettings = Field(PredictSettings(), description="over the block predict")
    crf: MaskCRFSettings = Field(MaskCRFSettings(), description="over the block crf")

    @model_validator(mode="after")
    def _seeds_go_with_dsrg(self) -> "RoundSettings":
        if (self.supervise == "seeds") != (self.method == "dsrg"):
            raise ValueError("supervise: seeds goes with method: dsrg, and with it alone")
        if self.supervise == "seeds" and self.masks:
            raise ValueError("masks: seeds take none; set seeds.cues")
        if self.mask_list and not self.masks:
            raise ValueError("mask_list: goes with masks")
        if self.loss_stride > self.crop:
            raise ValueError("loss_stride: greater than the crop, it leaves no pixel")
        return self

    def targets(self) -> "TargetSettings":
        """What the round's targets depend on."""
        return TargetSettings(**self.model_dump(include=set(TargetSettings.model_fields)))


class TargetSettings(Block):
    """What a round is trained on."""

    supervise: Literal["pseudo_labels", "predictions", "selected", "ground_truth"]
    masks: str | None = None
    mask_list: str | None = None
    selection: SelectionSettings = SelectionSettings()


class EvaluateSettings(Block):
    """The final figure."""

    split: Literal["train", "val"] = Field("val", description="whose masks are scored")
    masks: PathText | None = Field(
        None, description="folder of {id}.png to score instead, relative to run.data"
    )
    variant: Literal["voc", "dsrg", "psa", "seam", "tf"] = Field(
        "voc", description="which published evaluator's mIoU leads"
    )


class AuditSettings(Block):
    """How soft maps are cut for the audit."""

    cam_background: Share = Field(0.2, description="background score against the CAMs")
    saliency_threshold: Share = Field(0.5, description="of saliency × tags")
    label_confidence: Share = Field(0.7, description="of hard labels that a CRF starts from")


class PredictImagesSettings(PredictSettings):
    """Masks of new images: multi-scale and flip prediction, and the CRF where one is asked for."""

    crf: CRFSettings = Field(CRFSettings(), description="with --crf")


class ReportSettings(Block):
    """The page that shows the run."""

    images: Count = Field(
        1500, description="most images to show of a split, evenly from worst to best"
    )
    side: Annotated[int, Field(ge=32)] = Field(
        320, description="longer side of a picture in pixels"
    )
