"""Settings of every stage: defaults, bounds, meaning and source, one file a subject.

A default is the value of the method's own paper or release. A key that no paper defines has the
neutral value: no augmentation but the flip, SGD with momentum 0.9 and weight decay 5e-4, one scale.
A key that depends on the experiment has no default: network, iterations, batch, crop and learning
rate. Nothing here imports PyTorch.
"""

from stages.settings.affinity import AffinityScoreSettings, AffinitySettings, RandomWalkSettings
from stages.settings.config import DEFAULT_KINDS, Settings, parse_config
from stages.settings.cues import CamSettings, ClassifierSettings, SaliencySettings, SeedSettings
from stages.settings.data import ConvertSettings, MiniSettings
from stages.settings.errors import explain
from stages.settings.evaluation import AuditSettings, EvaluateSettings, ReportSettings
from stages.settings.group import GroupCamSettings, GroupSettings
from stages.settings.inference import (
    CRFSettings,
    MaskCRFSettings,
    PredictImagesSettings,
    PredictSettings,
)
from stages.settings.labels import PseudoLabelSettings
from stages.settings.layers import combine
from stages.settings.rounds import (
    DSRGSettings,
    RoundSettings,
    SelectionSettings,
    TargetSettings,
)
from stages.settings.training import (
    CropView,
    SharedTrainingSettings,
    TrainingSettings,
    WarpView,
)

__all__ = [
    "DEFAULT_KINDS",
    "AffinityScoreSettings",
    "AffinitySettings",
    "AuditSettings",
    "CRFSettings",
    "CamSettings",
    "ClassifierSettings",
    "ConvertSettings",
    "CropView",
    "DSRGSettings",
    "EvaluateSettings",
    "GroupCamSettings",
    "GroupSettings",
    "MaskCRFSettings",
    "MiniSettings",
    "PredictImagesSettings",
    "PredictSettings",
    "PseudoLabelSettings",
    "RandomWalkSettings",
    "ReportSettings",
    "RoundSettings",
    "SaliencySettings",
    "SeedSettings",
    "SelectionSettings",
    "Settings",
    "SharedTrainingSettings",
    "TargetSettings",
    "TrainingSettings",
    "WarpView",
    "combine",
    "explain",
    "parse_config",
]
