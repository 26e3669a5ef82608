"""DeepLab (Chen et al., TPAMI 2018): LargeFOV and ASPP on VGG-16, and ASPP on ResNet-101."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from seedbed.models.backbones.resnet import resnet101, resnet101_features
from seedbed.models.backbones.vgg import vgg16, vgg16_features
from seedbed.models.dropout import Dropout
from seedbed.models.layers import FrozenBatchNorm, Padding, conv, init_normal, max_pool
from seedbed.models.network import DEEPLAB_MEAN, DSRG_MEAN, IMAGENET, Network, Preprocessing

WIDTH = 1024
ASPP_RATES = (6, 12, 18, 24)
LARGE_FOV_RATE = 12
STD = 0.01
PREPROCESSINGS = {"caffe": DEEPLAB_MEAN, "imagenet": IMAGENET}


class VggHead(nn.Module):
    """Two pools, then a branch of fc6, fc7 and fc8 for every dilation; the fc8 are summed."""

    def __init__(
        self, num_classes: int, rates: Sequence[int], *, padding: Padding, dropout_in_eval: bool
    ) -> None:
        super().__init__()
        self.pool = nn.Sequential(
            max_pool(3, 1, ceil_mode=False, padding=padding),
            # Caffe counts the padding as zeros, TensorFlow leaves it out of the mean.
            nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=padding == "caffe"),
        )
        self.fc6 = nn.ModuleList(conv(512, WIDTH, dilation=rate) for rate in rates)
        self.fc7 = nn.ModuleList(conv(WIDTH, WIDTH, 1) for _ in rates)
        self.fc8 = nn.ModuleList(init_normal(nn.Conv2d(WIDTH, num_classes, 1), STD) for _ in rates)
        self.dropout = Dropout(in_eval=dropout_in_eval)

    def forward(self, features: Tensor) -> Tensor:
        """conv5 (N, 512, h, w) → logits (N, C, h, w)."""
        pooled = self.pool(features)
        branches = zip(self.fc6, self.fc7, self.fc8, strict=True)
        return torch.stack([self._branch(pooled, *branch) for branch in branches]).sum(0)

    def _branch(self, pooled: Tensor, fc6: nn.Module, fc7: nn.Module, fc8: nn.Module) -> Tensor:
        hidden = self.dropout(fc6(pooled).relu_())
        return fc8(self.dropout(fc7(hidden).relu_()))


class VggDeepLab(Network):
    """Logits of C classes, background included, at stride 8.

    The published initial weights hold all layers but fc8.

    Args:
        num_classes: number of classes C.
        rates: dilations of fc6, one branch each.
        preprocessing: normalisation of images.
        padding: of all pools, Caffe's or TensorFlow's SAME.
        dropout_in_eval: whether dropout stays active in evaluation.

    """

    def __init__(
        self,
        num_classes: int,
        *,
        rates: Sequence[int],
        preprocessing: Preprocessing,
        padding: Padding,
        dropout_in_eval: bool,
    ) -> None:
        super().__init__(vgg16(vgg16_features(padding=padding), preprocessing))
        self.head = VggHead(num_classes, rates, padding=padding, dropout_in_eval=dropout_in_eval)
        self.new_parts = ("head.fc8",)

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → logits (N, C, h, w), before a softmax."""
        return self.head(self.extract_features(images))


def vgg16_aspp(num_classes: int, *, padding: Padding = "caffe") -> VggDeepLab:
    """DSRG's network (Huang et al., CVPR 2018): four branches of dilation 6, 12, 18 and 24.

    `padding="caffe"` is the authors' network, "tf" its TensorFlow port, which also has another
    image mean and a Xavier-uniform fc8. Raises ValueError for another `padding`.
    """
    port = padding == "tf"
    network = VggDeepLab(
        num_classes,
        rates=ASPP_RATES,
        preprocessing=DEEPLAB_MEAN if port else DSRG_MEAN,
        padding=padding,
        dropout_in_eval=False,
    )
    if port:
        for layer in network.head.fc8:
            nn.init.xavier_uniform_(layer.weight)
    return network


def vgg16_largefov(
    num_classes: int, *, padding: Padding = "caffe", dropout_in_eval: bool = False
) -> VggDeepLab:
    """DeepLab-LargeFOV as SPSM trains it: one branch of dilation 12.

    The authors' test graph never switches dropout off; `dropout_in_eval=True` reproduces that and
    draws from PyTorch's random state. Raises ValueError for an unknown `padding`.
    """
    return VggDeepLab(
        num_classes,
        rates=(LARGE_FOV_RATE,),
        preprocessing=DEEPLAB_MEAN,
        padding=padding,
        dropout_in_eval=dropout_in_eval,
    )


class ASPPHead(nn.Module):
    """The sum of four 3x3 convolutions of dilation 6, 12, 18 and 24."""

    def __init__(self, inputs: int, num_classes: int) -> None:
        super().__init__()
        self.classes = nn.ModuleList(
            nn.Conv2d(inputs, num_classes, 3, padding=rate, dilation=rate) for rate in ASPP_RATES
        )
        for layer in self.classes:
            init_normal(layer, STD)

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, h, w) → logits (N, C, h, w)."""
        return torch.stack([layer(features) for layer in self.classes]).sum(0)


class ResNet101DeepLab(Network):
    """Logits of C classes, background included, at stride 8, as SPSM trains it.

    The batch norms keep their loaded statistics: without initial weights it learns little.

    Args:
        num_classes: number of classes C.
        preprocessing: "caffe" for DeepLab's weights, "imagenet" for torchvision's.
        stride_in_first: see `resnet101_features`; True for DeepLab's weights, False for
            torchvision's.
        norm_epsilon: added to the batch norms' variances; 1e-3 in TensorFlow's slim (SPSM).
        padding: see `resnet101_features`.
        checkpointing: see `resnet101_features`.

    Raises:
        ValueError: for another `preprocessing` or `padding`.

    """

    def __init__(
        self,
        num_classes: int,
        *,
        preprocessing: Literal["caffe", "imagenet"] = "caffe",
        stride_in_first: bool = True,
        norm_epsilon: float = 1e-5,
        padding: Padding = "caffe",
        checkpointing: bool = False,
    ) -> None:
        if preprocessing not in PREPROCESSINGS:
            raise ValueError(f"preprocessing: {preprocessing!r} is neither 'caffe' nor 'imagenet'")
        features = resnet101_features(
            stride_in_first=stride_in_first, checkpointing=checkpointing, padding=padding
        )
        for layer in features.modules():
            if isinstance(layer, FrozenBatchNorm):
                layer.eps = norm_epsilon
        backbone = resnet101(features, PREPROCESSINGS[preprocessing])
        super().__init__(backbone)
        self.head = ASPPHead(backbone.channels, num_classes)
        self.stride_in_first = stride_in_first

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → logits (N, C, h, w), before a softmax."""
        return self.head(self.extract_features(images))
