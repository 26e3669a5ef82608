"""A small backbone to train from scratch on a CPU in minutes."""

from torch import nn

from seedbed.models.network import Backbone, conv_relu


def tiny(output_stride: int = 8) -> Backbone:
    """Batch-normalised 3x3 convolutions of 16, 32 and 64 channels, at stride 8 or 4.

    At stride 8 there are eight, the last two dilated by 2 and 4 (as in Yu & Koltun, ICLR 2016),
    so that a cell sees about 160 px: what a mask wants. At stride 4 there are six and a cell sees
    35 px: trained on few images, it learns a class by its telling parts, not by its background.
    """
    if output_stride not in (4, 8):
        raise ValueError(f"output_stride: tiny has stride 8 or 4, not {output_stride}")
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
