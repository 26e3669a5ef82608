"""VGG-16 (Simonyan & Zisserman, ICLR 2015) with the layer names of torchvision's release."""

from torch import nn

from seedbed.models.dropout import ChannelDropout
from seedbed.models.layers import Padding, conv, max_pool
from seedbed.models.network import SEC_MEAN, Backbone, Preprocessing

# Output channels of the convolutions of conv1 to conv5: configuration D of the paper.
BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
CONV3 = 10  # index of the first module of conv3
PSA_CHANNELS = 1024


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
        pool_kernel: 3 (DeepLab) or 2 (the paper) for the pools that halve the grid; pools of
            stride 1 are always 3x3, because a 2x2 one would shift the grid.
        strides: of the pools after conv1 to conv4; 0 leaves that pool out.
        conv5_dilation: dilation of the three convolutions of conv5.
        ceil_mode: see `max_pool`.
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
            layers.append(_pool(strides[block], pool_kernel, ceil_mode, padding))
    return nn.Sequential(*layers)


def _pool(stride: int, kernel: int, ceil_mode: bool, padding: Padding) -> nn.Module:
    if stride == 0:
        return nn.Identity()  # so that later layers keep their published numbers
    return max_pool(kernel if stride > 1 else 3, stride, ceil_mode=ceil_mode, padding=padding)


def vgg16(features: nn.Sequential, preprocessing: Preprocessing, min_side: int = 1) -> Backbone:
    """The backbone of `vgg16_features`: 512 channels at stride 8."""
    return Backbone(
        features,
        512,
        8,
        low_layers=16,  # before the third pool
        low_channels=256,
        preprocessing=preprocessing,
        min_side=min_side,
    )


def psa_vgg16(*, fc6_dilation: int) -> Backbone:
    """PSA's VGG-16 (Ahn & Kwak, CVPR 2018): 1024 channels at stride 8, no pool before fc6.

    fc6 and fc7 are those of DeepLab-LargeFOV, whose weights (`vgg16_20M.caffemodel`) fit.
    conv1 and conv2 are frozen.
    """
    features = vgg16_features(ceil_mode=False)
    features[:CONV3].requires_grad_(False)
    features.add_module("fc6", conv(512, PSA_CHANNELS, dilation=fc6_dilation))
    features.add_module("relu6", nn.ReLU(inplace=True))
    features.add_module("drop6", ChannelDropout(0.5))
    features.add_module("fc7", conv(PSA_CHANNELS, PSA_CHANNELS, 1))
    features.add_module("relu7", nn.ReLU(inplace=True))
    return Backbone(
        features, PSA_CHANNELS, 8, low_layers=CONV3, low_channels=128, preprocessing=SEC_MEAN
    )
