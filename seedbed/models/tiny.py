"""A small backbone to train from scratch on a CPU in minutes."""

from torch import nn

from seedbed.models.network import Backbone, conv_relu


def tiny(output_stride: int = 8) -> Backbone:
    """Eight batch-normalised 3x3 convolutions of 16, 32 and 64 channels, stride 8.

    The last two are dilated by 2 and 4 (as in Yu & Koltun, ICLR 2016), so a cell sees
    139 px without a coarser grid.
    """
    if output_stride != 8:
        raise ValueError(f"output_stride: tiny has stride 8 alone, not {output_stride}")
    features = nn.Sequential(
        conv_relu(3, 16, stride=2, norm=True),
        conv_relu(16, 16, norm=True),
        conv_relu(16, 32, stride=2, norm=True),
        conv_relu(32, 32, norm=True),
        conv_relu(32, 64, stride=2, norm=True),
        conv_relu(64, 64, norm=True),
        conv_relu(64, 64, dilation=2, norm=True),
        conv_relu(64, 64, dilation=4, norm=True),
    )
    return Backbone(
        features, 64, stride=8, low_layers=4, low_channels=32, pretrained=False, norm=True
    )
