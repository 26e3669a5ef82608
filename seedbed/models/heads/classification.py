"""Image classification with class activation maps (CAM)."""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn

from seedbed.models.backbones.resnet38 import freeze_first_stages, resnet38
from seedbed.models.backbones.vgg import psa_vgg16
from seedbed.models.dropout import ChannelDropout, Dropout
from seedbed.models.layers import output_conv
from seedbed.models.network import Backbone, Network


class Pooling(nn.Module):
    """Class maps (N, K, h, w) → scores (N, K): (1 - w) · mean + w · mean of the highest cells.

    Args:
        top_weight: w in [0, 1]; 0 is global average pooling (Zhou et al., CVPR 2016).
        top_fraction: the fraction of cells in (0, 1], at least one, that counts as the highest.

    Raises:
        ValueError: if one of the two is out of its range.

    """

    def __init__(self, top_weight: float, top_fraction: float) -> None:
        super().__init__()
        if not 0 <= top_weight <= 1:
            raise ValueError(f"top_weight: {top_weight} is not in [0, 1]")
        if not 0 < top_fraction <= 1:
            raise ValueError(f"top_fraction: {top_fraction} is not in (0, 1]")
        self.top_weight = top_weight
        self.top_fraction = top_fraction

    def forward(self, maps: Tensor) -> Tensor:
        """(N, K, h, w) → (N, K)."""
        cells = maps.flatten(2)
        mean = cells.mean(2)
        if self.top_weight == 0:
            return mean
        count = math.ceil(self.top_fraction * cells.shape[2])
        return torch.lerp(mean, cells.topk(count, dim=2).values.mean(2), self.top_weight)


class Classifier(Network):
    """Scores of K classes, pooled from class maps (CAM: Zhou et al., CVPR 2016).

    Args:
        backbone: the features.
        num_classes: number of classes K, without background.
        dropout: probability that a feature value is zeroed in training.
        top_weight: see `Pooling`.
        top_fraction: see `Pooling`.

    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        dropout: float = 0.0,
        top_weight: float = 0.0,
        top_fraction: float = 0.3,
    ) -> None:
        super().__init__(backbone)
        classes = output_conv(backbone.channels, num_classes, bias=False)
        self.head = nn.Sequential(Dropout(dropout), classes)
        self.pool = Pooling(top_weight, top_fraction)

    def maps(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → class maps (N, K, h, w), any sign."""
        return self.head(self.extract_features(images))

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → scores (N, K), before a sigmoid."""
        return self.pool(self.maps(images))


class ChannelDropoutClassifier(Classifier):
    """PSA's classifier (Ahn & Kwak, CVPR 2018): dropout of whole channels, Xavier-uniform classes.

    Dropping channels commutes with the mean over the grid, so it does not matter that the maps
    are pooled here and the features in PSA. Options are those of `Classifier`.
    """

    def __init__(
        self, backbone: Backbone, num_classes: int, *, dropout: float = 0.5, **pooling: float
    ) -> None:
        super().__init__(backbone, num_classes, **pooling)
        classes = nn.Conv2d(backbone.channels, num_classes, 1, bias=False)
        nn.init.xavier_uniform_(classes.weight)
        self.head = nn.Sequential(OrderedDict(dropout=ChannelDropout(dropout), fc8=classes))


def vgg16_cls(num_classes: int, **options: float) -> ChannelDropoutClassifier:
    """PSA's VGG-16 classifier of K classes; `options` are those of `Classifier`."""
    return ChannelDropoutClassifier(psa_vgg16(fc6_dilation=1), num_classes, **options)


def resnet38_cls(
    num_classes: int, *, checkpointing: bool = False, **options: float
) -> ChannelDropoutClassifier:
    """PSA's ResNet-38 classifier of K classes, its first stages frozen; options as `Classifier`."""
    backbone = resnet38(checkpointing=checkpointing)
    freeze_first_stages(backbone.features)
    return ChannelDropoutClassifier(backbone, num_classes, **options)
