"""The published networks on VGG-16: DeepLab's for masks, SEC's and Group-WSSS' for class maps."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.models.backbones.vgg import Padding, max_pool, vgg16_features
from seedbed.models.heads.group import GroupNetwork
from seedbed.models.heads.plain import Pooling
from seedbed.models.network import (
    DEEPLAB_MEAN,
    DSRG_MEAN,
    IMAGENET,
    SEC_MEAN,
    Backbone,
    Network,
    Preprocessing,
    conv,
)

WIDTH = 1024
ASPP_RATES = (6, 12, 18, 24)
LARGE_FOV_RATE = 12


class Dropout(nn.Dropout):
    """Dropout that `in_eval` keeps on outside training too."""

    def __init__(self, p: float = 0.5, *, in_eval: bool = False) -> None:
        super().__init__(p)
        self.in_eval = in_eval

    def forward(self, features: Tensor) -> Tensor:
        """Any shape → the same shape."""
        return F.dropout(features, self.p, training=self.training or self.in_eval)


class BranchHead(nn.Module):
    """conv5 → two pools → fc6, fc7, fc8 once for every dilation of fc6; the fc8 are summed."""

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
        self.fc8 = nn.ModuleList(_normal(nn.Conv2d(WIDTH, num_classes, 1), 0.01) for _ in rates)
        self.dropout = Dropout(in_eval=dropout_in_eval)

    def forward(self, features: Tensor) -> Tensor:
        """(N, 512, h, w) → logits (N, C, h, w)."""
        pooled = self.pool(features)
        branches = zip(self.fc6, self.fc7, self.fc8, strict=True)
        return torch.stack([self._scores(pooled, *branch) for branch in branches]).sum(0)

    def _scores(self, pooled: Tensor, fc6: nn.Module, fc7: nn.Module, fc8: nn.Module) -> Tensor:
        wide = self.dropout(fc6(pooled).relu_())
        return fc8(self.dropout(fc7(wide).relu_()))


class DeepLabVGG(Network):
    """Logits of C classes, background included, on a grid of stride 8 (Chen et al., TPAMI 2018).

    `rates` are the dilations of fc6, a branch each; `padding` that of all pools, Caffe's or
    TensorFlow's SAME; `dropout_in_eval` keeps the dropout of 0.5 on after training. The published
    initial weights hold all but fc8.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        rates: Sequence[int],
        preprocessing: Preprocessing,
        padding: Padding = "caffe",
        dropout_in_eval: bool = False,
    ) -> None:
        super().__init__(_backbone(vgg16_features(padding=padding), preprocessing))
        self.head = BranchHead(num_classes, rates, padding=padding, dropout_in_eval=dropout_in_eval)
        self.new_parts = ("head.fc8",)

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → logits (N, C, h, w), no softmax."""
        return self.head(self.described(images))


def vgg16_aspp(num_classes: int, *, padding: Padding = "caffe") -> DeepLabVGG:
    """DSRG's network (Huang et al., CVPR 2018): four branches of dilation 6, 12, 18 and 24.

    `padding` "caffe" is the authors' network, "tf" its TensorFlow port, which also has another
    image mean and begins fc8 as Xavier does. Raises ValueError for another `padding`.
    """
    port = padding == "tf"
    mean = DEEPLAB_MEAN if port else DSRG_MEAN
    network = DeepLabVGG(num_classes, rates=ASPP_RATES, preprocessing=mean, padding=padding)
    if port:
        for layer in network.head.fc8:
            nn.init.xavier_uniform_(layer.weight)
    return network


def vgg16_largefov(
    num_classes: int, *, padding: Padding = "caffe", dropout_in_eval: bool = False
) -> DeepLabVGG:
    """DeepLab-LargeFOV as SPSM trains it: one branch of dilation 12.

    The authors' test graph never switches dropout off: `dropout_in_eval=True` does as it does,
    and draws from torch's random state. Raises ValueError for an unknown `padding`.
    """
    return DeepLabVGG(
        num_classes,
        rates=(LARGE_FOV_RATE,),
        preprocessing=DEEPLAB_MEAN,
        padding=padding,
        dropout_in_eval=dropout_in_eval,
    )


class ForegroundHead(nn.Module):
    """fc6 with a ReLU, fc7 without, and the classes as a 1x1 convolution without bias."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.fc6 = _normal(nn.Conv2d(512, WIDTH, 3, padding=1), 0.005)
        self.fc7 = _normal(nn.Conv2d(WIDTH, WIDTH, 3, padding=1), 0.005)
        self.fc8 = _normal(nn.Conv2d(WIDTH, num_classes, 1, bias=False), 0.005)
        self.dropout = nn.Dropout(0.5)

    def forward(self, features: Tensor) -> Tensor:
        """(N, 512, h, w) → class maps (N, K, h, w), any sign."""
        wide = self.dropout(self.fc6(features).relu_())
        return self.fc8(self.dropout(self.fc7(wide)))


class Vgg16CAM(Network):
    """SEC's foreground network (Kolesnikov & Lampert, ECCV 2016): CAM at stride 8, undilated.

    The classes alone count as new and learn faster, as in the authors' training, whose scores are
    the maps' means; `top_weight` and `top_fraction` are those of `Pooling`.
    """

    def __init__(
        self, num_classes: int, *, top_weight: float = 0.0, top_fraction: float = 0.3
    ) -> None:
        features = vgg16_features(pool_kernel=2, strides=(2, 2, 2, 0), conv5_dilation=1)
        super().__init__(_backbone(features, SEC_MEAN))
        self.head = ForegroundHead(num_classes)
        self.pool = Pooling(top_weight, top_fraction)
        self.new_parts = ("head.fc8",)

    def maps(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → class maps (N, K, h, w), any sign."""
        return self.head(self.described(images))

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → scores (N, K), before a sigmoid."""
        return self.pool(self.maps(images))


def vgg16_group(num_classes: int, **options: bool | int | float) -> GroupNetwork:
    """Group-WSSS' network (Li et al., AAAI 2021); `options` are `GroupNetwork`'s keywords.

    All convolutions of the head begin at N(0, 0.01), their biases as torch has them.
    """
    features = vgg16_features(pool_kernel=2, ceil_mode=False)
    # Its pools round down, three times.
    network = GroupNetwork(_backbone(features, IMAGENET, least_side=8), num_classes, **options)
    for layer in network.head.modules():
        if isinstance(layer, nn.Conv2d):
            layer.reset_parameters()
            nn.init.normal_(layer.weight, std=0.01)
    return network


def _backbone(
    features: nn.Sequential, preprocessing: Preprocessing, least_side: int = 1
) -> Backbone:
    return Backbone(
        features,
        512,
        8,
        low_layers=16,  # before the third pool, at a quarter of the image's size
        low_channels=256,
        preprocessing=preprocessing,
        least_side=least_side,
    )


def _normal(layer: nn.Conv2d, deviation: float) -> nn.Conv2d:
    """The layer with weights drawn from N(0, deviation) and biases of 0, Caffe's default."""
    nn.init.normal_(layer.weight, std=deviation)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
