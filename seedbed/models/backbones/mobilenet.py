"""MobileNetV2 (Sandler et al., CVPR 2018) with the layer names of torchvision's release."""

from torch import Tensor, nn

from seedbed.models.folding import FoldedSequential
from seedbed.models.layers import FrozenBatchNorm, conv
from seedbed.models.network import Backbone

# Expansion, output channels, number of blocks, stride of the first block: table 2 of the paper.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _conv_norm(
    inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> list[nn.Module]:
    layer = conv(
        inputs, outputs, kernel, stride=stride, dilation=dilation, groups=groups, bias=False
    )
    return [layer, FrozenBatchNorm(outputs, affine_learns=True)]


def _conv_norm_relu(*sizes: int, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Module:
    layers = _conv_norm(*sizes, stride=stride, dilation=dilation, groups=groups)
    return FoldedSequential(*layers, nn.ReLU6())


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3 and 1x1 projection, added to the input if the shape is kept."""

    def __init__(
        self, inputs: int, outputs: int, expansion: int, *, stride: int, dilation: int
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [_conv_norm_relu(inputs, hidden, 1)] if expansion > 1 else []
        self.conv = FoldedSequential(
            *expand,
            _conv_norm_relu(hidden, hidden, 3, stride=stride, dilation=dilation, groups=hidden),
            *_conv_norm(hidden, outputs, 1),
        )
        self.residual = inputs == outputs and stride == 1

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, h, w) → (N, outputs, h / stride, w / stride)."""
        result = self.conv(features)
        return features + result if self.residual else result


def _blocks(output_stride: int) -> list[nn.Module]:
    """All stages; strides beyond `output_stride` become dilations."""
    blocks: list[nn.Module] = []
    inputs, reached, dilation = 32, 2, 1
    for expansion, outputs, repeats, stride in STAGES:
        kept = stride if reached * stride <= output_stride else 1
        # Where a layer loses its stride, only the layers after it are dilated.
        blocks.append(InvertedResidual(inputs, outputs, expansion, stride=kept, dilation=dilation))
        reached, dilation = reached * kept, dilation * stride // kept
        blocks += [
            InvertedResidual(outputs, outputs, expansion, stride=1, dilation=dilation)
            for _ in range(repeats - 1)
        ]
        inputs = outputs
    return blocks


def mobilenet_v2(output_stride: int) -> Backbone:
    """1280 channels at stride 32 or, by dilation, 16 or 8."""
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride: mobilenet_v2 has 8, 16 or 32, not {output_stride}")
    features = nn.Sequential(
        _conv_norm_relu(3, 32, 3, stride=2),
        *_blocks(output_stride),
        _conv_norm_relu(320, 1280, 1),
    )
    return Backbone(features, 1280, output_stride, low_layers=4, low_channels=24, low_scale=0.1)
