"""Layers that several networks share, and their initialisation."""

import math
from typing import Literal, Self

from torch import Tensor, nn
from torch.nn import functional as F

Padding = Literal["caffe", "tf"]


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch normalisation that always uses its loaded statistics.

    Published weights either have batch normalisation folded into the convolutions or come with
    statistics of larger batches than ours; updating them would only make them worse.

    Args:
        channels: number of input channels.
        affine_learns: whether weight and bias are trained.

    """

    def __init__(self, channels: int, *, affine_learns: bool = False) -> None:
        super().__init__(channels)
        self.requires_grad_(affine_learns)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode."""
        return super().train(False)


def conv(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    padding: int | None = None,
    groups: int = 1,
    bias: bool = True,
) -> nn.Conv2d:
    """A convolution before a ReLU, initialised as He et al. (ICCV 2015), fan out, biases 0.

    The default padding keeps the image's size.
    """
    same = dilation * (kernel // 2)
    layer = nn.Conv2d(
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding=same if padding is None else padding,
        dilation=dilation,
        groups=groups,
        bias=bias,
    )
    # nn.init.kaiming_normal_ ignores groups: activations of depthwise layers would vanish.
    return init_normal(layer, math.sqrt(2 * groups / (outputs * kernel**2)))


def output_conv(inputs: int, outputs: int, kernel: int = 1, *, bias: bool = True) -> nn.Conv2d:
    """A convolution without a ReLU after it, with PyTorch's own initialisation.

    With Caffe's N(0, 0.01) the first scores are almost zero, and small objects need hundreds of
    iterations to win against background.
    """
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)


def conv_relu(
    inputs: int,
    outputs: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    dilation: int = 1,
    norm: bool = False,
) -> nn.Sequential:
    """Convolution, batch norm if `norm`, ReLU; (N, inputs, H, W) → (N, outputs, h, w)."""
    first = conv(inputs, outputs, kernel, stride=stride, dilation=dilation, bias=not norm)
    norms = [nn.BatchNorm2d(outputs)] if norm else []
    return nn.Sequential(first, *norms, nn.ReLU(inplace=True))


def init_normal(layer: nn.Conv2d, std: float) -> nn.Conv2d:
    """Draw a layer's weights from N(0, std²) and set its biases to 0; returns the layer."""
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def pad_same(features: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad (N, C, H, W) as TensorFlow's SAME does for a convolution or pool without own padding.

    The output then has ceil(size / stride) cells; of an odd number of padded pixels the extra one
    is on the right or at the bottom.
    """

    def pads(size: int) -> tuple[int, int]:
        cells = -(-size // stride)
        total = max(0, (cells - 1) * stride + kernel - size)
        return total // 2, total - total // 2

    height, width = features.shape[2:]
    return F.pad(features, (*pads(width), *pads(height)), value=value)


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, H, W) → (N, outputs, ceil(H / stride), ceil(W / stride))."""
        return super().forward(pad_same(features, self.kernel_size[0], self.stride[0]))


class SameMaxPool2d(nn.MaxPool2d):
    """Max pooling with TensorFlow's SAME padding."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, C, H, W) → (N, C, ceil(H / stride), ceil(W / stride))."""
        return super().forward(
            pad_same(features, self.kernel_size, self.stride, value=-float("inf"))
        )


def max_pool(kernel: int, stride: int, *, ceil_mode: bool, padding: Padding) -> nn.MaxPool2d:
    """Max pooling with the padding of Caffe's networks or TensorFlow's SAME.

    Args:
        kernel: side of the window; Caffe's networks pad a 3x3 window by 1 and a 2x2 window not.
        stride: step of the window.
        ceil_mode: whether Caffe's grid includes a last, incomplete window; unused with "tf".
        padding: "caffe" or "tf".

    Raises:
        ValueError: if `padding` is neither of the two.

    """
    if padding not in ("caffe", "tf"):
        raise ValueError(f"padding: {padding!r} is neither 'caffe' nor 'tf'")
    if padding == "tf":
        return SameMaxPool2d(kernel, stride)
    return nn.MaxPool2d(kernel, stride, padding=(kernel - 1) // 2, ceil_mode=ceil_mode)
