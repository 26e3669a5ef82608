"""Segmentation heads: a slim DeepLabv3+ decoder for small backbones, and ResNet-38's."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.methods.regions import Region
from seedbed.methods.resampling import resize_part
from seedbed.models.backbones.resnet38 import resnet38
from seedbed.models.dropout import Dropout
from seedbed.models.layers import conv_relu, output_conv
from seedbed.models.network import Backbone, Network
from seedbed.runtime.errors import UserError

SKIP_CHANNELS = 48
RESNET38_WIDTH = 512
RESNET38_RATE = 12


class SegmentationHead(nn.Module):
    """A dilated convolution and, if `skip`, a decoder that adds low-level features.

    The decoder is a slim version of DeepLabv3+'s (Chen et al., ECCV 2018): both inputs are
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
        self.dropout = Dropout(dropout)
        if skip:
            self.high = conv_relu(width, slim, kernel=1, norm=norm)
            self.low = conv_relu(backbone.low_channels, slim, kernel=1, norm=norm)
            self.refine = conv_relu(2 * slim, slim, norm=norm)
        self.classes = output_conv(slim if skip else width, num_classes)

    def forward(
        self, high: Tensor, low: Tensor | None, grids: Sequence[Region] | None = None
    ) -> Tensor:
        """Features (N, c, h, w) and, with `skip`, low ones (N, c', h', w') → logits.

        The logits have the grid of the low-level features, without `skip` that of the others.
        `grids` say which part of an image's features `low` and `high` are; None: all of them.
        """
        context = self.dropout(self.context(high))
        if low is None:
            return self.classes(context)
        high = self.high(context)
        if grids is None:
            raised = F.interpolate(high, size=low.shape[2:], mode="bilinear", align_corners=False)
        else:
            raised = resize_part(high, grids[1], grids[0], "half_pixel")
        return self.classes(self.refine(torch.cat([raised, self.low(low)], dim=1)))


class Segmenter(Network):
    """Logits of C classes, background included, at the stride of the low-level features (`skip`).

    Args:
        backbone: the features.
        num_classes: number of classes C.
        width: channels of the dilated convolution.
        rate: its dilation.
        dropout: dropout probability after it.
        skip: whether low-level features refine the result; otherwise it has the backbone's stride.
            None: they do if the backbone has some.

    Raises:
        UserError: if `skip` is True and the backbone has no low-level features.

    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        width: int = 256,
        rate: int = 6,
        dropout: float = 0.0,
        skip: bool | None = None,
    ) -> None:
        super().__init__(backbone)
        if skip and not backbone.low_channels:
            raise UserError(
                "options.skip: this network has features of one stride only; set it to false"
            )
        skip = backbone.low_channels > 0 if skip is None else skip
        self.head = SegmentationHead(
            backbone, num_classes, width=width, rate=rate, dropout=dropout, skip=skip
        )
        self.low_layers = backbone.low_layers
        self.low_scale = backbone.low_scale
        self.skip = skip
        if skip:
            self.stride = backbone.low_stride

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → logits (N, C, h, w), before a softmax."""
        return self._logits(images, None)

    def input_side(self, side: int) -> int:
        """See `Network`."""
        resized = getattr(self.features, "input_side", super().input_side)
        return resized(side)

    def grids(self, images: Tensor) -> list[Tensor]:
        """See `Network`."""
        low, high = self._levels(images)
        return [low, high] if self.skip else [high]

    def forward_part(self, images: Tensor, grids: Sequence[Region]) -> Tensor:
        """See `Network`."""
        return self._logits(images, grids)

    def _logits(self, images: Tensor, grids: Sequence[Region] | None) -> Tensor:
        low, high = self._levels(images)
        low = low * self.low_scale if self.skip else None
        return self.head(high * self.feature_scale, low, grids)

    def _levels(self, images: Tensor) -> tuple[Tensor | None, Tensor]:
        """Low-level features, if there are some, and the last ones, neither scaled."""
        if self.low_layers is None:
            *low, high = self.features.levels(images)
            return low[0] if low else None, high
        low = self.features[: self.low_layers](images)
        return low, self.features[self.low_layers :](low)


class ResNet38Segmenter(Network):
    """Logits of C classes, background included, by two 3x3 convolutions of dilation 12.

    The head of peihan-miao's ResNet38-Semantic-Segmentation.
    """

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__(backbone)
        self.head = nn.Sequential(
            _dilated_conv(backbone.channels, RESNET38_WIDTH),
            nn.ReLU(inplace=True),
            _dilated_conv(RESNET38_WIDTH, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → logits (N, C, h, w), before a softmax."""
        return self.head(self.extract_features(images))


def _dilated_conv(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=RESNET38_RATE, dilation=RESNET38_RATE)
    nn.init.xavier_uniform_(layer.weight)
    return layer


def resnet38_seg(num_classes: int, *, checkpointing: bool = False) -> ResNet38Segmenter:
    """ResNet-38 segmentation of C classes; only the batch norms are frozen."""
    return ResNet38Segmenter(resnet38(checkpointing=checkpointing), num_classes)
