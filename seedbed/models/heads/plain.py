"""Image classification with class maps, and segmentation: the two plain heads."""

import math
from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.models.network import Backbone, Network, conv_relu, output_conv

SKIP_CHANNELS = 48


class Pooling(nn.Module):
    """Class maps (N, K, h, w) → scores (N, K): (1 - w) · mean + w · mean of the highest cells.

    `top_weight` w in [0, 1]: 0 is global average pooling (Zhou et al., CVPR 2016);
    `top_fraction` in (0, 1] of the cells, at least one, counts as the highest.
    """

    def __init__(self, top_weight: float = 0.0, top_fraction: float = 0.3) -> None:
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
    """Scores of K classes that are the pooled class maps (CAM: Zhou et al., CVPR 2016).

    `dropout`: the share of feature values zeroed in training; the rest as in `Pooling`.
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
        self.head = nn.Sequential(nn.Dropout(dropout), classes)
        self.pool = Pooling(top_weight, top_fraction)

    def maps(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → class maps (N, K, h, w), any sign."""
        return self.head(self.described(images))

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → scores (N, K), before a sigmoid."""
        return self.pool(self.maps(images))


class ChannelDropoutClassifier(Classifier):
    """PSA's classifier: whole channels are dropped, and the class weights are Xavier-uniform.

    Dropping channels commutes with the mean over the grid: whether the maps or the features are
    pooled is the same.
    """

    def __init__(
        self, backbone: Backbone, num_classes: int, *, dropout: float = 0.5, **pooling: float
    ) -> None:
        super().__init__(backbone, num_classes, **pooling)
        classes = nn.Conv2d(backbone.channels, num_classes, 1, bias=False)
        nn.init.xavier_uniform_(classes.weight)
        self.head = nn.Sequential(OrderedDict(dropout=nn.Dropout2d(dropout), fc8=classes))


class SegmentationHead(nn.Module):
    """A wide-sighted dilated convolution, refined by low features where they are given.

    The decoder is a slim one of DeepLabv3+ (Chen et al., ECCV 2018): both inputs are
    projected to 48 channels, so that the finer grid stays cheap.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        width: int,
        rate: int,
        dropout: float,
        skip: bool,
    ) -> None:
        super().__init__()
        norm, slim = backbone.norm, SKIP_CHANNELS
        self.context = conv_relu(backbone.channels, width, dilation=rate, norm=norm)
        self.dropout = nn.Dropout(dropout)
        if skip:
            self.high = conv_relu(width, slim, kernel=1, norm=norm)
            self.low = conv_relu(backbone.low_channels, slim, kernel=1, norm=norm)
            self.refine = conv_relu(2 * slim, slim, norm=norm)
        self.classes = output_conv(slim if skip else width, num_classes)

    def forward(self, high: Tensor, low: Tensor | None) -> Tensor:
        """Features (N, c, h, w) and, with a skip, (N, c', h', w') → logits on the finer grid."""
        context = self.dropout(self.context(high))
        if low is None:
            return self.classes(context)
        raised = F.interpolate(
            self.high(context), size=low.shape[2:], mode="bilinear", align_corners=False
        )
        return self.classes(self.refine(torch.cat([raised, self.low(low)], dim=1)))


class Segmenter(Network):
    """Logits of C classes, background included, on a grid of stride 4 (`skip`) or the backbone's.

    `width` channels and dilation `rate` of the context layer; `dropout` after it.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        width: int = 256,
        rate: int = 6,
        dropout: float = 0.0,
        skip: bool = True,
    ) -> None:
        super().__init__(backbone)
        self.head = SegmentationHead(
            backbone, num_classes, width=width, rate=rate, dropout=dropout, skip=skip
        )
        self.low_layers = backbone.low_layers
        self.low_scale = backbone.low_scale
        self.skip = skip
        if skip:
            self.stride = 4

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → logits (N, C, h, w), no softmax."""
        low = self.features[: self.low_layers](images)
        high = self.features[self.low_layers :](low) * self.feature_scale
        return self.head(high, low * self.low_scale if self.skip else None)
