"""A small backbone to train from scratch on a CPU in minutes."""

from torch import nn

from seedbed.models.layers import conv_relu
from seedbed.models.network import Backbone


def tiny(output_stride: int) -> Backbone:
    """3x3 convolutions with batch norm and 16, 32 and 64 channels, at stride 8 or 4.

    At stride 8 there are eight, the last two with dilation 2 and 4 (as in Yu & Koltun, ICLR 2016):
    the receptive field of about 160 px suits segmentation. At stride 4 there are six, and the
    receptive field is 35 px: with few training images, a classifier then learns the objects'
    parts rather than their backgrounds.
    """
    if output_stride not in (4, 8):
        raise ValueError(f"output_stride: tiny has 4 or 8, not {output_stride}")
    wide = output_stride == 8
    features = nn.Sequential(
        conv_relu(3, 16, stride=2, norm=True),
        conv_relu(16, 16, norm=True),
        conv_relu(16, 32, stride=2, norm=True),
        conv_relu(32, 32, norm=True),
        conv_relu(32, 64, stride=2 if wide else 1, norm=True),
        conv_relu(64, 64, norm=True),
    )
    if wide:
        features.append(conv_relu(64, 64, dilation=2, norm=True))
        features.append(conv_relu(64, 64, dilation=4, norm=True))
    return Backbone(
        features,
        64,
        stride=output_stride,
        low_layers=4,
        low_channels=32,
        pretrained=False,
        norm=True,
    )
