"""ResNet-38 (Wu et al., "Wider or Deeper", 2016) with the layer names of PSA's release."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from seedbed.models.dropout import ChannelDropout, same_draws_twice
from seedbed.models.layers import FrozenBatchNorm
from seedbed.models.network import Backbone

# Name, blocks, middle and output channels, stride of the first block, dilation of all convolutions
# but the first one.
STAGES = (
    ("b2", 3, 128, 128, 2, 1),
    ("b3", 3, 256, 256, 2, 1),
    ("b4", 6, 512, 512, 2, 1),
    ("b5", 3, 512, 1024, 1, 2),
)
CHANNELS = 4096


def _conv(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1
) -> nn.Conv2d:
    """Same size, no bias, PyTorch's initialisation: drawing 10⁸ weights again costs a second."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(
        inputs, outputs, kernel, stride=stride, padding=padding, dilation=dilation, bias=False
    )


class Block(nn.Module):
    """A pre-activation residual block (He et al., ECCV 2016); subclasses define `branch`.

    The shortcut is the input itself or, where the shape changes, a 1x1 convolution of the
    normalised input. With `checkpointing`, the block's activations are computed again in the
    backward pass, not kept in memory.
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
            return checkpoint(self._sum, features, use_reentrant=False, context_fn=same_draws_twice)
        return self._sum(features)

    def _sum(self, features: Tensor) -> Tensor:
        normalised = self.normalised(features)
        shortcut = features if self.conv_branch1 is None else self.conv_branch1(normalised)
        return shortcut + self.branch(normalised)


class PlainBlock(Block):
    """A branch of two 3x3 convolutions of the given dilations."""

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
    """A branch of 1x1, dilated 3x3 and 1x1 convolutions, channel dropout before the last two."""

    def __init__(
        self, inputs: int, outputs: int, *, dilation: int, dropout: float, checkpointing: bool
    ) -> None:
        super().__init__(inputs, outputs, checkpointing=checkpointing)
        quarter, half = outputs // 4, outputs // 2
        self.conv_branch2a = _conv(inputs, quarter, 1)
        self.bn_branch2b1 = FrozenBatchNorm(quarter)
        self.dropout_2b1 = ChannelDropout(dropout)
        self.conv_branch2b1 = _conv(quarter, half, 3, dilation=dilation)
        self.bn_branch2b2 = FrozenBatchNorm(half)
        self.dropout_2b2 = ChannelDropout(dropout)
        self.conv_branch2b2 = _conv(half, outputs, 1)

    def branch(self, normalised: Tensor) -> Tensor:
        """(N, inputs, h, w) → (N, outputs, h, w)."""
        first = F.relu(self.bn_branch2b1(self.conv_branch2a(normalised)))
        second = F.relu(self.bn_branch2b2(self.conv_branch2b1(self.dropout_2b1(first))))
        return self.conv_branch2b2(self.dropout_2b2(second))


def resnet38(*, checkpointing: bool = False) -> Backbone:
    """4096 channels at stride 8. Batch norms are frozen; `checkpointing`: see `Block`."""
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
    return Backbone(nn.Sequential(layers), CHANNELS, 8, low_layers=7, low_channels=256)


def freeze_first_stages(features: nn.Sequential) -> None:
    """Freeze conv1a and stage b2, all layers up to stride 2, as PSA does."""
    for name, layer in features.named_children():
        if name.startswith(("conv1a", "b2")):
            layer.requires_grad_(False)
