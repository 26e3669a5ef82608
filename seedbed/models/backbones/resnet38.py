"""ResNet-38 (Wu et al., "Wider or Deeper", 2016) as in PSA (Ahn & Kwak, CVPR 2018), and its heads.

Layer names are those of PSA's release, here after `features.` and `head.`.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from seedbed.models.heads.affinity import AffinityNetwork, Levels
from seedbed.models.heads.plain import ChannelDropoutClassifier
from seedbed.models.network import Backbone, FrozenBatchNorm, Network

# Name, blocks, middle and output channels, stride of the first block, dilation of all convolutions
# but the very first.
STAGES = (
    ("b2", 3, 128, 128, 2, 1),
    ("b3", 3, 256, 256, 2, 1),
    ("b4", 6, 512, 512, 2, 1),
    ("b5", 3, 512, 1024, 1, 2),
)
CHANNELS = 4096
STRIDE = 8
SEGMENTATION_WIDTH = 512
SEGMENTATION_RATE = 12


def _conv(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """No bias, same size, torch's own initialisation: setting 10⁸ weights twice costs a second."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(
        inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation, bias=False
    )


class Block(nn.Module):
    """A pre-activation residual block (He et al., ECCV 2016): normalise, branch, add a shortcut.

    The shortcut is the input itself or, where the shape changes, a 1x1 convolution of the
    normalised input. `checkpointing`: what lies within a block is computed again for the
    gradient, not kept in memory. Subclasses say what the branch is.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, checkpointing: bool = False
    ) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.bn_branch2a = FrozenBatchNorm(inputs)
        same_shape = inputs == outputs and stride == 1
        self.conv_branch1 = None if same_shape else _conv(inputs, outputs, 1, stride=stride)

    def normalised(self, features: Tensor) -> Tensor:
        """(N, inputs, h, w) → the same after batch norm and ReLU."""
        return F.relu(self.bn_branch2a(features))

    def branch(self, normalised: Tensor) -> Tensor:
        """(N, inputs, h, w) → (N, outputs, h / stride, w / stride)."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, h, w) → (N, outputs, h / stride, w / stride), halves rounded up."""
        if self.checkpointing and torch.is_grad_enabled():
            return checkpoint(self._sum, features, use_reentrant=False)
        return self._sum(features)

    def _sum(self, features: Tensor) -> Tensor:
        normalised = self.normalised(features)
        shortcut = features if self.conv_branch1 is None else self.conv_branch1(normalised)
        return shortcut + self.branch(normalised)


class PlainBlock(Block):
    """Two 3x3 convolutions; `dilations` are theirs."""

    def __init__(
        self,
        inputs: int,
        middle: int,
        outputs: int,
        *,
        stride: int,
        dilations: tuple[int, int],
        checkpointing: bool,
    ) -> None:
        super().__init__(inputs, outputs, stride=stride, checkpointing=checkpointing)
        self.conv_branch2a = _conv(inputs, middle, 3, stride=stride, dilation=dilations[0])
        self.bn_branch2b1 = FrozenBatchNorm(middle)
        self.conv_branch2b1 = _conv(middle, outputs, 3, dilation=dilations[1])

    def branch(self, normalised: Tensor) -> Tensor:
        """(N, inputs, h, w) → (N, outputs, h / stride, w / stride)."""
        middle = self.conv_branch2a(normalised)
        return self.conv_branch2b1(F.relu(self.bn_branch2b1(middle)))


class Bottleneck(Block):
    """A 1x1, a dilated 3x3 and a 1x1 convolution; dropout of whole channels before the last two."""

    def __init__(
        self, inputs: int, outputs: int, *, dilation: int, dropout: float, checkpointing: bool
    ) -> None:
        super().__init__(inputs, outputs, checkpointing=checkpointing)
        quarter, half = outputs // 4, outputs // 2
        self.conv_branch2a = _conv(inputs, quarter, 1)
        self.bn_branch2b1 = FrozenBatchNorm(quarter)
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.conv_branch2b1 = _conv(quarter, half, 3, dilation=dilation)
        self.bn_branch2b2 = FrozenBatchNorm(half)
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.conv_branch2b2 = _conv(half, outputs, 1)

    def branch(self, normalised: Tensor) -> Tensor:
        """(N, inputs, h, w) → (N, outputs, h, w)."""
        first = F.relu(self.bn_branch2b1(self.conv_branch2a(normalised)))
        second = F.relu(self.bn_branch2b2(self.conv_branch2b1(self.dropout_2b1(first))))
        return self.conv_branch2b2(self.dropout_2b2(second))


def resnet38(*, checkpointing: bool = False) -> Backbone:
    """4096 channels at stride 8. Batch norms are frozen; `checkpointing` as in `Block`."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv1a=_conv(3, 64, 3))
    inputs = 64
    for stage, blocks, middle, outputs, stride, dilation in STAGES:
        for index in range(blocks):
            layers[f"{stage}_{index}" if index else stage] = PlainBlock(
                inputs,
                middle,
                outputs,
                stride=1 if index else stride,
                dilations=(dilation if index else 1, dilation),
                checkpointing=checkpointing,
            )
            inputs = outputs
    layers["b6"] = Bottleneck(1024, 2048, dilation=4, dropout=0.3, checkpointing=checkpointing)
    layers["b7"] = Bottleneck(2048, CHANNELS, dilation=4, dropout=0.5, checkpointing=checkpointing)
    layers["bn7"] = FrozenBatchNorm(CHANNELS)
    layers["relu7"] = nn.ReLU(inplace=True)
    return Backbone(nn.Sequential(layers), CHANNELS, STRIDE, low_layers=7, low_channels=256)


def freeze_beginning(features: nn.Sequential) -> None:
    """Let conv1a and the blocks at stride 2 stay as they were loaded (PSA)."""
    for name, layer in features.named_children():
        if name.startswith(("conv1a", "b2")):
            layer.requires_grad_(False)


def _wide_conv(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 3, padding=SEGMENTATION_RATE, dilation=SEGMENTATION_RATE)
    nn.init.xavier_uniform_(layer.weight)
    return layer


class ResNet38Segmenter(Network):
    """Logits of C classes, background included, by two 3x3 convolutions that look 12 cells far.

    The head of peihan-miao's ResNet38-Semantic-Segmentation.
    """

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__(backbone)
        self.head = nn.Sequential(
            _wide_conv(backbone.channels, SEGMENTATION_WIDTH),
            nn.ReLU(inplace=True),
            _wide_conv(SEGMENTATION_WIDTH, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → logits (N, C, h, w), no softmax."""
        return self.head(self.described(images))


def _levels(features: nn.Sequential, images: Tensor) -> Levels:
    """Conv4 and conv5, the normalised inputs of b5 and b6, and conv6, the end."""
    taken, current = [], images
    for name, layer in features.named_children():
        if name in ("b5", "b6"):
            taken.append(layer.normalised(current))
        current = layer(current)
    conv4, conv5 = taken
    return conv4, conv5, current


def resnet38_cls(
    num_classes: int, *, checkpointing: bool = False, **options: float
) -> ChannelDropoutClassifier:
    """PSA's classifier of K classes; conv1a and the blocks at stride 2 are frozen."""
    backbone = resnet38(checkpointing=checkpointing)
    freeze_beginning(backbone.features)
    return ChannelDropoutClassifier(backbone, num_classes, **options)


def resnet38_seg(num_classes: int, *, checkpointing: bool = False) -> ResNet38Segmenter:
    """The segmentation network of C classes; nothing but the batch norms is frozen."""
    return ResNet38Segmenter(resnet38(checkpointing=checkpointing), num_classes)


def resnet38_affinity(num_classes: int, *, checkpointing: bool = False) -> AffinityNetwork:
    """PSA's AffinityNet, frozen as `resnet38_cls`; pairs have no classes: any number will do."""
    backbone = resnet38(checkpointing=checkpointing)
    freeze_beginning(backbone.features)
    return AffinityNetwork(backbone, _levels, channels=(512, 1024, CHANNELS))
