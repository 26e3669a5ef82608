"""VGG-16 (Simonyan & Zisserman, ICLR 2015) with the layer names of torchvision's release."""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.models.network import conv

Padding = Literal["caffe", "tf"]

# Output channels of the convolutions of conv1 to conv5: configuration D of the paper.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def pad_same(features: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad (N, c, H, W) for TensorFlow's SAME grid: ceil(size / stride) cells, odd pads at the end.

    A convolution or pool of that kernel and stride, without padding of its own, comes next.
    """

    def pads(size: int) -> tuple[int, int]:
        cells = -(-size // stride)
        total = max(0, (cells - 1) * stride + kernel - size)
        return total // 2, total - total // 2

    height, width = features.shape[2:]
    return F.pad(features, (*pads(width), *pads(height)), value=value)


class SameMaxPool2d(nn.MaxPool2d):
    """Max pooling on TensorFlow's SAME grid."""

    def forward(self, features: Tensor) -> Tensor:
        """(N, c, H, W) → (N, c, ceil(H / stride), ceil(W / stride))."""
        return super().forward(
            pad_same(features, self.kernel_size, self.stride, value=-float("inf"))
        )


def max_pool(kernel: int, stride: int, *, ceil_mode: bool, padding: Padding) -> nn.MaxPool2d:
    """Max pooling; in Caffe's networks a 3x3 kernel is padded by 1, a 2x2 one not at all.

    `ceil_mode` says whether a last, incomplete window of Caffe's grid counts; TensorFlow's
    grid has no such choice. Raises ValueError for another padding.
    """
    if padding not in ("caffe", "tf"):
        raise ValueError(f"padding: {padding!r} is neither 'caffe' nor 'tf'")
    if padding == "tf":
        return SameMaxPool2d(kernel, stride)
    return nn.MaxPool2d(kernel, stride, padding=(kernel - 1) // 2, ceil_mode=ceil_mode)


def vgg16_features(
    *,
    pool_kernel: int = 3,
    strides: tuple[int, int, int, int] = (2, 2, 2, 1),
    conv5_dilation: int = 2,
    ceil_mode: bool = True,
    padding: Padding = "caffe",
) -> nn.Sequential:
    """conv1_1 to the ReLU of conv5_3, modules 0 to 29; (N, 3, H, W) → (N, 512, ~H/8, ~W/8).

    Args:
        pool_kernel: 3 (DeepLab) or 2 (the paper), of the pools that halve the grid; one of
            stride 1 is always 3x3, because a 2x2 one would shift the grid.
        strides: of the pools after conv1 to conv4; 0 leaves that pool out.
        conv5_dilation: of the three convolutions of conv5.
        ceil_mode: as in `max_pool`.
        padding: of the pools, Caffe's or TensorFlow's SAME.

    Raises:
        ValueError: if `padding` is neither of the two.

    """
    layers: list[nn.Module] = []
    inputs = 3
    for block, channels in enumerate(BLOCKS):
        dilation = conv5_dilation if block == 4 else 1
        for outputs in channels:
            layers += [conv(inputs, outputs, dilation=dilation), nn.ReLU(inplace=True)]
            inputs = outputs
        if block < 4:
            layers.append(_pool_after(strides[block], pool_kernel, ceil_mode, padding))
    return nn.Sequential(*layers)


def _pool_after(stride: int, kernel: int, ceil_mode: bool, padding: Padding) -> nn.Module:
    if stride == 0:
        return nn.Identity()  # so that the later layers keep their published numbers
    return max_pool(kernel if stride > 1 else 3, stride, ceil_mode=ceil_mode, padding=padding)
