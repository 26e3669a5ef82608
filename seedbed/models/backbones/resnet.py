"""ResNet-101 (He et al., CVPR 2016) as DeepLab dilates it, with torchvision's layer names."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seedbed.models.layers import FrozenBatchNorm, Padding, SameConv2d, conv, max_pool
from seedbed.models.network import Backbone, Preprocessing

# Blocks, inner channels, stride and dilation of layer1 to layer4: table 1 of the paper; the last
# two strides become dilations.
STAGES = ((3, 64, 1, 1), (4, 128, 2, 1), (23, 256, 1, 2), (3, 512, 1, 4))
EXPANSION = 4
STEM_KERNEL = 7


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, added to the input (projected where the shape changes)."""

    def __init__(
        self,
        inputs: int,
        channels: int,
        *,
        strides: tuple[int, int] = (1, 1),
        dilation: int,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        outputs = EXPANSION * channels
        self.conv1 = conv(inputs, channels, 1, stride=strides[0], bias=False)
        self.bn1 = FrozenBatchNorm(channels)
        self.conv2 = conv(channels, channels, stride=strides[1], dilation=dilation, bias=False)
        self.bn2 = FrozenBatchNorm(channels)
        self.conv3 = conv(channels, outputs, 1, bias=False)
        self.bn3 = FrozenBatchNorm(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Sequential()
        if inputs != outputs:
            projection = conv(inputs, outputs, 1, stride=strides[0] * strides[1], bias=False)
            self.downsample = nn.Sequential(projection, FrozenBatchNorm(outputs))
        self.checkpointing = checkpointing

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, h, w) → (N, 4 · channels, ceil(h / stride), ceil(w / stride))."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(self._residual, features, use_reentrant=False)
        return self._residual(features)

    def _residual(self, features: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(features)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        return self.relu(self.bn3(self.conv3(inner)) + self.downsample(features))


def _stem(padding: Padding) -> nn.Conv2d:
    layer = conv(3, 64, STEM_KERNEL, stride=2, bias=False)
    if padding == "caffe":
        return layer
    same = SameConv2d(3, 64, STEM_KERNEL, stride=2, bias=False)
    same.load_state_dict(layer.state_dict())
    return same


def resnet101_features(
    *, stride_in_first: bool = True, checkpointing: bool = False, padding: Padding = "caffe"
) -> nn.Sequential:
    """ResNet-101 up to layer4, its batch norms frozen; (N, 3, H, W) → (N, 2048, ~H/8, ~W/8).

    Args:
        stride_in_first: whether a stage's stride is in its first 1x1 convolution (the authors'
            release) or in its first 3x3 one (torchvision).
        checkpointing: gradient checkpointing: only the blocks' inputs are kept for the backward
            pass, the rest is computed again. A third more time, a fraction of the memory.
        padding: of the first convolution and the pool, Caffe's or TensorFlow's SAME; they differ
            where a side is even.

    Raises:
        ValueError: if `padding` is neither of the two.

    """
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv1=_stem(padding),
        bn1=FrozenBatchNorm(64),
        relu=nn.ReLU(inplace=True),
        maxpool=max_pool(3, 2, ceil_mode=True, padding=padding),
    )
    inputs, previous_dilation = 64, 1
    for number, (blocks, channels, stride, dilation) in enumerate(STAGES, start=1):
        strides = (stride, 1) if stride_in_first else (1, stride)
        # Where the 3x3 convolution itself loses its stride, only the layers after it are dilated.
        first = dilation if stride_in_first else previous_dilation
        stage = [
            Bottleneck(
                inputs, channels, strides=strides, dilation=first, checkpointing=checkpointing
            )
        ]
        inputs, previous_dilation = EXPANSION * channels, dilation
        stage += [
            Bottleneck(inputs, channels, dilation=dilation, checkpointing=checkpointing)
            for _ in range(blocks - 1)
        ]
        layers[f"layer{number}"] = nn.Sequential(*stage)
    return nn.Sequential(layers)


def resnet101(features: nn.Sequential, preprocessing: Preprocessing) -> Backbone:
    """The backbone of `resnet101_features`: 2048 channels at stride 8."""
    return Backbone(
        features,
        EXPANSION * STAGES[-1][1],
        8,
        low_layers=5,  # up to layer1
        low_channels=EXPANSION * STAGES[0][1],
        preprocessing=preprocessing,
    )
