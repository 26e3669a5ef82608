"""VGG-16 as PSA makes it of DeepLab's (Ahn & Kwak, CVPR 2018), to classify and to compare cells.

The convolutions keep torchvision's numbers, fc6, fc7 and the heads PSA's names. Fc6 and fc7 are
DeepLab-LargeFOV's of 1024 channels: the weights of its `vgg16_20M.caffemodel` fit.
"""

from torch import Tensor, nn

from seedbed.models.backbones.vgg import vgg16_features
from seedbed.models.heads.affinity import AffinityNetwork, Levels
from seedbed.models.heads.plain import ChannelDropoutClassifier
from seedbed.models.network import SEC_MEAN, Backbone, conv

CHANNELS = 1024
CONV3 = 10  # the first module of conv3
CONV4_3, CONV5_3 = "22", "29"  # the modules, ReLUs, whose outputs conv4 and conv5 are


def _vgg16(fc6_dilation: int) -> Backbone:
    """1024 channels at stride 8; conv1 and conv2 are frozen. No pool stands before fc6."""
    features = vgg16_features(ceil_mode=False)
    features[:CONV3].requires_grad_(False)
    features.add_module("fc6", conv(512, CHANNELS, dilation=fc6_dilation))
    features.add_module("relu6", nn.ReLU(inplace=True))
    features.add_module("drop6", nn.Dropout2d(0.5))
    features.add_module("fc7", conv(CHANNELS, CHANNELS, 1))
    features.add_module("relu7", nn.ReLU(inplace=True))
    return Backbone(
        features, CHANNELS, stride=8, low_layers=CONV3, low_channels=128, preprocessing=SEC_MEAN
    )


def _levels(features: nn.Sequential, images: Tensor) -> Levels:
    """The outputs of conv4 (512 channels), conv5 (512) and fc7 (1024)."""
    taken, current = [], images
    for name, layer in features.named_children():
        current = layer(current)
        if name in (CONV4_3, CONV5_3):
            taken.append(current)
    conv4, conv5 = taken
    return conv4, conv5, current


def vgg16_cls(num_classes: int, **options: float) -> ChannelDropoutClassifier:
    """PSA's classifier of K classes; `options` are those of `ChannelDropoutClassifier`."""
    return ChannelDropoutClassifier(_vgg16(fc6_dilation=1), num_classes, **options)


def vgg16_affinity(num_classes: int) -> AffinityNetwork:
    """PSA's AffinityNet; pairs have no classes: any number will do."""
    return AffinityNetwork(
        _vgg16(fc6_dilation=4), _levels, channels=(512, 512, CHANNELS), norm=True
    )
