"""DeepLab-v2 on ResNet-101 (Chen et al., TPAMI 2018), with torchvision's names of the layers."""

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seedbed.models.backbones.vgg import Padding, max_pool, pad_same
from seedbed.models.network import DEEPLAB_MEAN, IMAGENET, Backbone, FrozenBatchNorm, Network, conv

# Blocks, inner channels, stride and dilation of layer1 to layer4: table 1 of He et al. (CVPR
# 2016), the last two strides become dilations.
STAGES = ((3, 64, 1, 1), (4, 128, 2, 1), (23, 256, 1, 2), (3, 512, 1, 4))
EXPANSION = 4
RATES = (6, 12, 18, 24)
STEM = 7  # the kernel of the first convolution

PREPROCESSINGS = {"caffe": DEEPLAB_MEAN, "imagenet": IMAGENET}


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, added to their input (projected where the shape changes)."""

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
            return checkpoint(self._transformed, features, use_reentrant=False)
        return self._transformed(features)

    def _transformed(self, features: Tensor) -> Tensor:
        inner = self.relu(self.bn1(self.conv1(features)))
        inner = self.relu(self.bn2(self.conv2(inner)))
        return self.relu(self.bn3(self.conv3(inner)) + self.downsample(features))


class SameConv2d(nn.Conv2d):
    """A convolution on TensorFlow's SAME grid."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, ceil(H / stride), ceil(W / stride))."""
        return super().forward(pad_same(features, self.kernel_size[0], self.stride[0]))


def _stem(padding: Padding) -> nn.Conv2d:
    layer = conv(3, 64, STEM, stride=2, bias=False)
    if padding == "caffe":
        return layer
    same = SameConv2d(3, 64, STEM, stride=2, bias=False)
    same.load_state_dict(layer.state_dict())
    return same


def resnet101_features(
    *, stride_in_first: bool = True, checkpointing: bool = False, padding: Padding = "caffe"
) -> nn.Sequential:
    """ResNet-101 up to layer4, its norms frozen; (N, 3, H, W) → (N, 2048, ~H/8, ~W/8).

    Args:
        stride_in_first: a stage's stride is in the 1x1 convolution that begins it (the authors'
            release); False: in the 3x3 one, as torchvision's weights want it.
        checkpointing: keep only the blocks' inputs for the backward pass, which computes the
            rest again: about a third more time, a fraction of the memory.
        padding: of the first convolution and the pool, Caffe's or TensorFlow's SAME, which differ
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
    inputs, reached = 64, 1
    for number, (blocks, channels, stride, dilation) in enumerate(STAGES, start=1):
        strides = (stride, 1) if stride_in_first else (1, stride)
        # A 3x3 convolution that loses its own stride still sees the grid it knows.
        first = dilation if stride_in_first else reached
        stage = [
            Bottleneck(
                inputs, channels, strides=strides, dilation=first, checkpointing=checkpointing
            )
        ]
        inputs, reached = EXPANSION * channels, dilation
        stage += [
            Bottleneck(inputs, channels, dilation=dilation, checkpointing=checkpointing)
            for _ in range(blocks - 1)
        ]
        layers[f"layer{number}"] = nn.Sequential(*stage)
    return nn.Sequential(layers)


class ASPPHead(nn.Module):
    """The sum of four 3x3 convolutions of dilation 6, 12, 18 and 24."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.classes = nn.ModuleList(
            nn.Conv2d(inputs, num_classes, 3, padding=rate, dilation=rate) for rate in RATES
        )
        for layer in self.classes:
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, h, w) → logits (N, C, h, w)."""
        return torch.stack([layer(features) for layer in self.classes]).sum(0)


class ResNet101DeepLab(Network):
    """Logits of C classes, background included, on a grid of stride 8, as SPSM trains it.

    `preprocessing` "caffe" and `stride_in_first` belong to DeepLab's weights, "imagenet" and
    False to torchvision's. `norm_epsilon` is added to the norms' variances: 1e-3 in TensorFlow's
    slim, with which SPSM trains. `checkpointing` trades time for memory. The norms stay as loaded,
    so without weights to load there is little to learn. `padding` as in `resnet101_features`.
    Raises ValueError for another `preprocessing` or `padding`.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        preprocessing: Literal["caffe", "imagenet"] = "caffe",
        stride_in_first: bool = True,
        norm_epsilon: float = 1e-5,
        padding: Padding = "caffe",
        checkpointing: bool = False,
    ) -> None:
        if preprocessing not in PREPROCESSINGS:
            raise ValueError(f"preprocessing: {preprocessing!r} is neither 'caffe' nor 'imagenet'")
        features = resnet101_features(
            stride_in_first=stride_in_first, checkpointing=checkpointing, padding=padding
        )
        for layer in features.modules():
            if isinstance(layer, FrozenBatchNorm):
                layer.eps = norm_epsilon
        channels = EXPANSION * STAGES[-1][1]
        backbone = Backbone(
            features,
            channels,
            8,
            low_layers=5,  # up to layer1
            low_channels=EXPANSION * STAGES[0][1],
            preprocessing=PREPROCESSINGS[preprocessing],
        )
        super().__init__(backbone)
        self.head = ASPPHead(channels, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → logits (N, C, h, w), no softmax."""
        return self.head(self.described(images))
