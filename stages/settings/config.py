"""The whole config: its blocks, and the rules that involve several of them."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from pydantic import Field, ValidationError, model_validator

from seedbed.models.registry import network_info
from seedbed.runtime.errors import UserError
from stages.settings.affinity import AffinityScoreSettings, AffinitySettings, RandomWalkSettings
from stages.settings.base import Block
from stages.settings.cues import CamSettings, ClassifierSettings, SaliencySettings, SeedSettings
from stages.settings.data import ConvertSettings, MiniSettings
from stages.settings.errors import explain
from stages.settings.evaluation import AuditSettings, EvaluateSettings, ReportSettings
from stages.settings.group import GroupCamSettings, GroupSettings
from stages.settings.inference import MaskCRFSettings, PredictSettings
from stages.settings.labels import PseudoLabelSettings
from stages.settings.layers import lay_over
from stages.settings.rounds import RoundSettings
from stages.settings.run import PathvarSettings, RunSettings
from stages.settings.training import KINDS, SharedTrainingSettings, TrainingSettings

INHERITED = ("predict", "crf")  # blocks that a round inherits, beside `training`
# Options with which the same weights compute other features.
BACKBONE_OPTIONS = ("preprocessing", "stride_in_first", "norm_epsilon", "padding")


class Settings(Block):
    """The whole config. A block without a default is needed only by the rules that use it."""

    pathvars: PathvarSettings = PathvarSettings()
    run: RunSettings = RunSettings()
    mini_dataset: MiniSettings = MiniSettings()
    convert: ConvertSettings = ConvertSettings()
    classifier: ClassifierSettings | None = None
    cam: CamSettings = CamSettings()
    saliency: SaliencySettings = SaliencySettings()
    seeds: SeedSettings = SeedSettings()
    group: GroupSettings | None = None
    group_cam: GroupCamSettings = GroupCamSettings()
    affinity_scores: AffinityScoreSettings = AffinityScoreSettings()
    affinity: AffinitySettings | None = None
    random_walk: RandomWalkSettings = RandomWalkSettings()
    pseudo_labels: PseudoLabelSettings = PseudoLabelSettings()
    training: SharedTrainingSettings = SharedTrainingSettings()
    predict: PredictSettings = Field(PredictSettings(), description="shared by the rounds")
    crf: MaskCRFSettings = Field(
        MaskCRFSettings(), description="shared by the rounds and the audit"
    )
    rounds: list[RoundSettings] = Field(
        min_length=1, description="the trainings of the segmentation network, one after another"
    )
    evaluate: EvaluateSettings = EvaluateSettings()
    audit: AuditSettings = AuditSettings()
    report: ReportSettings = ReportSettings()

    def block(self, name: str, needed_by: str) -> Block | list[RoundSettings]:
        """A block of the config.

        Args:
            name: the block's key.
            needed_by: who asks for it, as the user is told if it is absent.

        Raises:
            UserError: if the config has no such block.

        """
        value = getattr(self, name)
        if value is None:
            raise UserError(
                f"{name}: {needed_by} needs this block; add it to config.yaml or the recipe (see"
                f" docs/config.md, {name})"
            )
        return value

    @model_validator(mode="before")
    @classmethod
    def _rounds_inherit(cls, values: dict[str, Any]) -> dict[str, Any]:
        rounds = values.get("rounds")
        if not isinstance(rounds, list):
            return values
        shared = values.get("training", {})
        if isinstance(shared, dict):
            shared = shared | {key: values[key] for key in INHERITED if key in values}
        return values | {"rounds": [lay_over(shared, item, TRAINING_KINDS) for item in rounds]}

    @model_validator(mode="after")
    def _weights_come_from_an_earlier_training(self) -> "Settings":
        first = self.rounds[0]
        if first.supervise == "predictions" and not first.masks:
            raise ValueError("rounds.0.supervise: predictions needs a round before it")
        for place, training in self.trainings():
            number = int(place.removeprefix("rounds.")) if place.startswith("rounds.") else 0
            if training.weights == "previous" and number == 0:
                raise ValueError(f"{place}.weights: previous needs a round before it")
            if training.weights == "classifier" and self.classifier is None:
                raise ValueError(f"{place}.weights: there is no block classifier; add it")
            sources = {"classifier": self.classifier, "previous": self.rounds[number - 1]}
            source = sources.get(training.weights or "")
            if source and _backbone(source) != _backbone(training):
                raise ValueError(
                    f"{place}.weights: {training.weights} is a {source.network} and cannot"
                    f" initialise a {training.network}; both need the same backbone"
                )
            if training.weights == "previous":
                _check_same_backbone_options(place, training, self.rounds[number - 1])
        return self

    @model_validator(mode="after")
    def _selection_has_masks_of_the_tags(self) -> "Settings":
        for number, (before, item) in enumerate(pairwise(self.rounds)):
            selects = item.supervise == "selected" and not item.masks
            if selects and not before.crf.restrict_to_tags:
                raise ValueError(
                    f"rounds.{number}.crf.restrict_to_tags: must be true, because the next round"
                    " selects from these masks, where only an image's tags may compete"
                )
        return self

    @model_validator(mode="after")
    def _processes_share_the_batches(self) -> "Settings":
        for place, training in self.trainings():
            if training.batch % self.run.training_processes:
                raise ValueError(f"run.training_processes: must divide {place}.batch")
        return self

    @model_validator(mode="after")
    def _kept_maps_are_of_whole_images(self) -> "Settings":
        kept = self.group and not self.group_cam.maps and self.group_cam.source != "network"
        if kept and not self.group.view.shows_whole_image():
            raise ValueError(
                "group.view: the maps that are kept while training have to be of whole images: use"
                " kind: warp without scale and rotate, or group_cam.source: network"
            )
        return self

    @model_validator(mode="after")
    def _the_data_set_has_what_is_used(self) -> "Settings":
        if self.convert.label_source == "cues" and not self.seeds.cues:
            raise ValueError("convert.label_source: cues needs seeds.cues")
        for key, layout in self.convert.layouts.items():
            if self.evaluate.split == "val" and not getattr(layout, layout.val_key):
                needed = f"convert.{key}.{layout.val_key}"
                raise ValueError(f"evaluate.split: there are no val images without {needed}")
            for number, item in enumerate(self.rounds):
                if item.supervise == "ground_truth" and not (item.masks or layout.has_masks):
                    place = f"rounds.{number}.supervise"
                    raise ValueError(f"{place}: the truth needs convert.{key}.masks")
        return self

    def trainings(self) -> Iterator[tuple[str, TrainingSettings]]:
        """Every training of the config and its key."""
        for name in ("classifier", "group", "affinity"):
            if getattr(self, name):
                yield name, getattr(self, name)
        for number, item in enumerate(self.rounds):
            yield f"rounds.{number}", item


def parse_config(config: dict[str, Any]) -> Settings:
    """The settings that a config holds; a UserError in one line names the wrong keys."""
    try:
        return Settings.model_validate(config)
    except ValidationError as error:
        remedy = "correct config.yaml, the recipe or --config"
        raise UserError(f"config: {explain(error)}; {remedy}") from None


def _backbone(training: TrainingSettings) -> str:
    return network_info(training.network).backbone


def _check_same_backbone_options(
    place: str, training: TrainingSettings, previous: TrainingSettings
) -> None:
    """ValueError if a round's backbone has other options than that of the round before."""
    for name in BACKBONE_OPTIONS:
        here, before = training.options.get(name), previous.options.get(name)
        if here != before:
            raise ValueError(
                f"{place}.options: {name} has to be that of the round before, whose weights it"
                " starts from; set the options under training, for all rounds"
            )


def _kinds_of(model: type[TrainingSettings]) -> dict[str, dict[str, str]]:
    """The default kind of each of a training's blocks that have several kinds."""
    return {name: {"kind": model.model_fields[name].default.kind} for name in KINDS}


TRAINING_KINDS = _kinds_of(RoundSettings)
# What lay_over has to know of blocks that do not name their kind.
DEFAULT_KINDS = {
    "classifier": _kinds_of(ClassifierSettings),
    "group": _kinds_of(GroupSettings),
    "affinity": _kinds_of(AffinitySettings),
    "training": TRAINING_KINDS,
}
