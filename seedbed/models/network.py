"""What every network is made of: a backbone with published key names, and the layers put on it."""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Preprocessing:
    """What a network's weights expect of an image: (levels / scale - mean) / std by channel.

    `bgr`: the channels are turned round, and `mean` and `std` are in that order too.
    """

    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bgr: bool = False


IMAGENET = Preprocessing(255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# The same mean in levels, blue first, as each release of Caffe's time rounds it.
DSRG_MEAN = Preprocessing(1, mean=(104, 117, 123), bgr=True)
DEEPLAB_MEAN = Preprocessing(1, mean=(104.00698793, 116.66876762, 122.67891434), bgr=True)
SEC_MEAN = Preprocessing(1, mean=(104.008, 116.669, 122.675), bgr=True)  # and PSA's VGG


@dataclass(frozen=True)
class Backbone:
    """Convolutional features and what a head must know of them.

    `features` maps (N, 3, H, W) to (N, channels, ~H / stride, ~W / stride); its first
    `low_layers` modules alone give (N, low_channels, ~H / 4, ~W / 4). `scale` and `low_scale`
    bring these two to the order of one; `pretrained` says whether published weights exist,
    `norm` whether the layers of a head are batch-normalised as well, `preprocessing` what the
    weights expect of an image, `least_side` the fewest pixels that its sides may have.
    """

    features: nn.Sequential
    channels: int
    stride: int
    low_layers: int
    low_channels: int
    scale: float = 1.0
    low_scale: float = 1.0
    pretrained: bool = True
    norm: bool = False
    preprocessing: Preprocessing = IMAGENET
    least_side: int = 1


class Network(nn.Module):
    """A backbone under the name `features`; subclasses put everything new under `head`.

    `stride` is that of the maps returned, `new_parts` the prefixes of the parameters that no
    published checkpoint holds, `feature_scale` the factor between backbone and head.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.features = backbone.features
        self.feature_scale = backbone.scale
        self.stride = backbone.stride
        self.preprocessing = backbone.preprocessing
        self.least_side = backbone.least_side
        self.new_parts = ("head.",) if backbone.pretrained else ("features.", "head.")

    def preprocess(self, images: Tensor) -> Tensor:
        """RGB uint8 (N, 3, H, W) → float (N, 3, H, W), as `preprocessing` says.

        Channels lie last in memory: on a CPU, training is then faster by a third.
        """
        wanted = self.preprocessing
        mean = torch.tensor(wanted.mean, device=images.device).view(3, 1, 1)
        std = torch.tensor(wanted.std, device=images.device).view(3, 1, 1)
        ordered = images.flip(1) if wanted.bgr else images
        scaled = (ordered.float() / wanted.scale - mean) / std
        return scaled.contiguous(memory_format=torch.channels_last)

    def described(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → scaled features (N, channels, h, w)."""
        return self.features(images) * self.feature_scale


class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch norm that always uses its loaded statistics.

    Published weights come with batch norm folded to the identity, or with statistics better
    than those of a small batch: neither survives an update. `affine_learns`: weight and bias do.
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
    """A convolution that a ReLU follows (He et al., ICCV 2015, fan out); same size by default."""
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
    # Torch's own rule forgets the groups and lets depthwise layers fade away.
    nn.init.normal_(layer.weight, std=math.sqrt(2 * groups / (outputs * kernel**2)))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def output_conv(inputs: int, outputs: int, kernel: int = 1, *, bias: bool = True) -> nn.Conv2d:
    """A convolution that no ReLU follows, with torch's own initialisation.

    Scores that begin very near zero, as with the N(0, 0.01) of Caffe's time, cost hundreds of
    iterations where small objects must win against background.
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
