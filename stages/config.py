"""The whole config: its blocks, and what must go together from block to block. Imports no torch."""

from collections.abc import Iterator
from typing import Any

from pydantic import Field, model_validator

from stages.settings import (
    AffinityScoreSettings,
    AffinitySettings,
    AuditSettings,
    Block,
    CamSettings,
    ClassifierSettings,
    ConvertSettings,
    EvaluateSettings,
    GroupCamSettings,
    GroupSettings,
    MaskCRFSettings,
    MiniSettings,
    PathText,
    PredictSettings,
    PseudoLabelSettings,
    RandomWalkSettings,
    ReportSettings,
    RoundSettings,
    RunSettings,
    SaliencySettings,
    SeedSettings,
    TrainingSettings,
)

STRIDES = {"tiny": (4, 8), "squeezenet1_0": (8, 16), "mobilenet_v2": (8, 16, 32)}
HEADS = {
    "cls": ("output_stride", "dropout"),
    "seg": ("output_stride", "dropout", "width", "rate", "skip"),
    "group": ("output_stride", "width", "graph_dropout_in_eval"),
}
# What seedbed.models.build knows, and the options of each, without importing torch.
NETWORKS: dict[str, tuple[str, ...]] = {
    **{f"{backbone}_{head}": keys for backbone in STRIDES for head, keys in HEADS.items()},
    "vgg16_cls": ("dropout",),
    "vgg16_affinity": (),
    "vgg16_cam": (),
    "vgg16_group": ("width", "graph_dropout_in_eval"),
    "vgg16_aspp": ("padding",),
    "vgg16_largefov": ("padding", "dropout_in_eval"),
    "resnet101_deeplab": (
        *("preprocessing", "stride_in_first", "norm_epsilon", "padding", "checkpointing"),
    ),
    "resnet38_cls": ("dropout", "checkpointing"),
    "resnet38_affinity": ("checkpointing",),
    "resnet38_seg": ("checkpointing",),
}
LEAST_CROP = 32  # of all networks but AffinityNet
CELL, LEAST_CELLS = 8, 9  # of AffinityNet: a cell has partners up to four cells away


class Settings(Block):
    """The whole config."""

    pathvars: dict[str, PathText] = Field({"results": "results"}, description="Snakemake's own")
    run: RunSettings = RunSettings()
    mini_dataset: MiniSettings = MiniSettings()
    convert: ConvertSettings = ConvertSettings()
    classifier: ClassifierSettings = ClassifierSettings()
    cam: CamSettings = CamSettings()
    saliency: SaliencySettings = SaliencySettings()
    seeds: SeedSettings = SeedSettings()
    group: GroupSettings = GroupSettings()
    group_cam: GroupCamSettings = GroupCamSettings()
    affinity_scores: AffinityScoreSettings = AffinityScoreSettings()
    affinity: AffinitySettings = AffinitySettings()
    random_walk: RandomWalkSettings = RandomWalkSettings()
    pseudo_labels: PseudoLabelSettings = PseudoLabelSettings()
    training: TrainingSettings = Field(
        TrainingSettings(), description="shared by the rounds; a round may override any key"
    )
    predict: PredictSettings = Field(
        PredictSettings(), description="shared by the rounds; a round may override any key"
    )
    crf: MaskCRFSettings = Field(
        MaskCRFSettings(), description="shared by the rounds and the audit; as predict"
    )
    rounds: list[RoundSettings] = Field(min_length=1)
    evaluate: EvaluateSettings = EvaluateSettings()
    audit: AuditSettings = AuditSettings()
    report: ReportSettings = ReportSettings()

    @model_validator(mode="before")
    @classmethod
    def _null_is_none(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Of what `--config` says in braces Snakemake gives every value as text."""
        return _without_null(values)

    @model_validator(mode="before")
    @classmethod
    def _rounds_inherit(cls, values: dict[str, Any]) -> dict[str, Any]:
        shared = {name: values.get(name, {}) for name in ("training", "predict", "crf")}
        rounds = values.get("rounds")
        if isinstance(rounds, list) and all(isinstance(block, dict) for block in shared.values()):
            merged = [_over(item, shared) if isinstance(item, dict) else item for item in rounds]
            values = {**values, "rounds": merged}
        return values

    @model_validator(mode="after")
    def _paths_begin_with_results(self) -> "Settings":
        if "results" not in self.pathvars:
            raise ValueError("pathvars: needs results, the folder of the run")
        return self

    @model_validator(mode="after")
    def _networks_are_known(self) -> "Settings":
        for place, block in self._trainings():
            _check_network(place, block)
            _check_crop(place, block)
        return self

    @model_validator(mode="after")
    def _rounds_build_on_rounds(self) -> "Settings":
        first = self.rounds[0]
        if first.supervise == "predictions" and not first.masks:
            raise ValueError("rounds.0.supervise: predictions needs a round before it")
        for place, block in (
            ("rounds.0", first),
            ("group", self.group),
            ("affinity", self.affinity),
        ):
            if block.weights == "previous":
                raise ValueError(f"{place}.weights: previous needs a round before it")
        for number, item in enumerate(self.rounds):
            sources = {"classifier": self.classifier, "previous": self.rounds[number - 1]}
            source = sources.get(item.weights or "", item)
            if _backbone(item) != _backbone(source):  # whose weights mean nothing to another
                raise ValueError(
                    f"rounds.{number}.weights: {item.weights} is a {source.network}, and the "
                    f"network a {item.network}: take the same backbone"
                )
        return self

    @model_validator(mode="after")
    def _processes_share_the_batches(self) -> "Settings":
        trainings = {"classifier": self.classifier, "group": self.group, "affinity": self.affinity}
        trainings |= {f"rounds.{number}": item for number, item in enumerate(self.rounds)}
        for name, item in trainings.items():
            if item.batch % self.run.training_processes:
                raise ValueError(f"run.training_processes: must divide {name}.batch")
        return self

    @model_validator(mode="after")
    def _what_is_asked_for_is_there(self) -> "Settings":
        folder, coco = self.convert.folder, self.convert.coco
        if self.convert.label_source == "cues" and not self.seeds.cues:
            raise ValueError("convert.label_source: cues needs seeds.cues")
        unpainted = folder is not None and not folder.masks
        if self.evaluate.split == "val" and (unpainted or (coco and not coco.val_instances)):
            key = "folder.masks" if unpainted else "coco.val_instances"
            raise ValueError(f"evaluate.split: there is no val image without convert.{key}")
        for number, item in enumerate(self.rounds):
            if item.supervise == "ground_truth" and not item.masks and unpainted:
                raise ValueError(f"rounds.{number}.supervise: the truth is in convert.folder.masks")
        return self

    def _trainings(self) -> Iterator[tuple[str, TrainingSettings]]:
        """Every training and its place in the config; the rounds come after what they share."""
        for name in ("classifier", "group", "affinity", "training"):
            yield name, getattr(self, name)
        for number, item in enumerate(self.rounds):
            yield f"rounds.{number}", item


def _without_null(value: Any) -> Any:  # noqa: ANN401 - any content of a config
    """The same with None where the text `null` stands."""
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_null(item) for item in value]
    return None if value == "null" else value


def _over(item: dict[str, Any], shared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """A round's own values over those that the rounds share."""
    blocks = {
        name: {**shared[name], **own}
        for name in ("predict", "crf")
        if isinstance(own := item.get(name, {}), dict)
    }
    return {**shared["training"], **item, **blocks}


def _check_network(place: str, block: TrainingSettings) -> None:
    if block.network not in NETWORKS:
        fitting = ", ".join(name for name in NETWORKS if name.endswith(block.kinds))
        raise ValueError(f"{place}.network: {block.network} is none of {fitting}")
    for key in block.options:
        if key not in NETWORKS[block.network]:
            raise ValueError(f"{place}.options: {block.network} has no option {key}")
    backbone, stride = _backbone(block), block.options.get("output_stride")
    if stride and stride not in STRIDES[backbone]:
        raise ValueError(f"{place}.options: {backbone} has no output_stride of {stride}")


def _check_crop(place: str, block: TrainingSettings) -> None:
    if block.crop < LEAST_CROP:
        raise ValueError(
            f"{place}.crop: {block.crop} is too small for a network: {LEAST_CROP} or more"
        )
    if place == "affinity" and (block.crop % CELL or block.crop < CELL * LEAST_CELLS):
        raise ValueError(f"{place}.crop: a multiple of {CELL}, {CELL * LEAST_CELLS} or more")


def _backbone(block: TrainingSettings) -> str:
    return block.network.rpartition("_")[0]
