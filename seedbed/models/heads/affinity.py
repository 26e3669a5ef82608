"""AffinityNet: do two neighbouring grid cells have the same class? (PSA: Ahn & Kwak, CVPR 2018)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.methods.psa.pairs import inner_cells, pair_affinities
from seedbed.models.backbones.mobilenet import mobilenet_v2
from seedbed.models.backbones.resnet38 import CHANNELS as RESNET38_CHANNELS
from seedbed.models.backbones.resnet38 import freeze_first_stages, resnet38
from seedbed.models.backbones.vgg import PSA_CHANNELS, psa_vgg16
from seedbed.models.network import Backbone, Network

VGG_CONV4_3, VGG_CONV5_3 = "22", "29"  # the ReLUs after these layers
MOBILENET_STRIDE_16, MOBILENET_STRIDE_32 = "13", "17"  # the last blocks of 96 and 320 channels

Levels = tuple[Tensor, Tensor, Tensor]


def _projection(inputs: int, outputs: int) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, 1, bias=False)
    nn.init.kaiming_normal_(layer.weight)
    return layer


class AffinityHead(nn.Module):
    """Projects three levels of a backbone and mixes them to 448 channels; layer names are PSA's.

    `norm`: group-normalise the projections, as PSA does with VGG-16.
    """

    def __init__(self, channels: tuple[int, int, int], *, norm: bool) -> None:
        super().__init__()
        self.f8_3 = _projection(channels[0], 64)
        self.f8_4 = _projection(channels[1], 128)
        self.f8_5 = _projection(channels[2], 256)
        self.gn8_3 = nn.GroupNorm(8, 64) if norm else nn.Identity()
        self.gn8_4 = nn.GroupNorm(16, 128) if norm else nn.Identity()
        self.gn8_5 = nn.GroupNorm(32, 256) if norm else nn.Identity()
        self.f9 = nn.Conv2d(448, 448, 1, bias=False)
        nn.init.xavier_uniform_(self.f9.weight, gain=4)

    def forward(self, conv4: Tensor, conv5: Tensor, conv6: Tensor) -> Tensor:
        """Three (N, channels, h, w) → (N, 448, h, w)."""
        joined = [
            F.elu(self.gn8_3(self.f8_3(conv4))),
            F.elu(self.gn8_4(self.f8_4(conv5))),
            F.elu(self.gn8_5(self.f8_5(conv6))),
        ]
        return F.elu(self.f9(torch.cat(joined, dim=1)))


class AffinityNetwork(Network):
    """Affinities in [0, 1] of cells less than 5 cells apart.

    The group norms do not count as new parts: PSA trains them at the backbone's learning rate.

    Args:
        backbone: the features.
        levels: function of the backbone's `features` and preprocessed images; returns the three
            maps that the head compares, all on the same grid.
        channels: numbers of channels of these maps.
        norm: see `AffinityHead`.

    """

    def __init__(
        self,
        backbone: Backbone,
        levels: Callable[[nn.Sequential, Tensor], Levels],
        *,
        channels: tuple[int, int, int],
        norm: bool = False,
    ) -> None:
        super().__init__(backbone)
        self.levels = levels
        self.head = AffinityHead(channels, norm=norm)
        self.new_parts = ("head.f8_", "head.f9.")

    def embed(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → the features that are compared, (N, 448, h, w)."""
        return self.head(*self.levels(self.features, images))

    def grids(self, images: Tensor) -> list[Tensor]:
        """See `Network`; those of the features that are compared."""
        return [self.embed(images)]

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → affinities (N, 34, source cells), for training.

        Source cells are the `inner_cells`, row by row; partners are in the order of
        `pair_offsets`. Raises ValueError if an image is too small to have a source cell.
        """
        pairs = inner_cells(pair_affinities(self.embed(images)))
        if pairs.numel() == 0:
            size = "x".join(map(str, images.shape[2:]))
            raise ValueError(f"images: {size} px hold no cell whose partners all lie within")
        return pairs.flatten(2)

    def affinities(self, images: Tensor, *, border_sources: bool = True) -> Tensor:
        """Preprocessed images (N, 3, H, W) → affinities (N, 34, h, w), see `pair_affinities`.

        With `border_sources=False` all cells but the `inner_cells` get 0, as in PSA's random walk,
        which does not connect neighbours in the last rows, for example.
        """
        pairs = pair_affinities(self.embed(images))
        if border_sources:
            return pairs
        kept = torch.zeros_like(pairs)
        inner_cells(kept).copy_(inner_cells(pairs))
        return kept


def _outputs_after(*names: str) -> Callable[[nn.Sequential, Tensor], Levels]:
    """Levels that are the outputs of two named layers of `features` and of the last one."""

    def levels(features: nn.Sequential, images: Tensor) -> Levels:
        kept, current = [], images
        for name, layer in features.named_children():
            current = layer(current)
            if name in names:
                kept.append(current)
        first, second = kept
        return first, second, current

    return levels


def vgg16_affinity(num_classes: int) -> AffinityNetwork:
    """PSA's AffinityNet on VGG-16; `num_classes` is unused, as pairs have no classes."""
    levels = _outputs_after(VGG_CONV4_3, VGG_CONV5_3)  # and fc7
    return AffinityNetwork(
        psa_vgg16(fc6_dilation=4), levels, channels=(512, 512, PSA_CHANNELS), norm=True
    )


def _resnet38_levels(features: nn.Sequential, images: Tensor) -> Levels:
    """conv4 and conv5, the normalised inputs of b5 and b6, and conv6, the final features."""
    levels, current = [], images
    for name, layer in features.named_children():
        if name in ("b5", "b6"):
            levels.append(layer.normalised(current))
        current = layer(current)
    conv4, conv5 = levels
    return conv4, conv5, current


def resnet38_affinity(num_classes: int, *, checkpointing: bool = False) -> AffinityNetwork:
    """PSA's AffinityNet on ResNet-38, its first stages frozen; `num_classes` is unused."""
    backbone = resnet38(checkpointing=checkpointing)
    freeze_first_stages(backbone.features)
    return AffinityNetwork(backbone, _resnet38_levels, channels=(512, 1024, RESNET38_CHANNELS))


def mobilenet_v2_affinity(num_classes: int) -> AffinityNetwork:
    """PSA's AffinityNet on MobileNetV2 at stride 8; `num_classes` is unused.

    The levels are the last features that the network has at strides 16 and 32 without dilation, and
    its 1280 final ones. As in ResNet-38 they are batch-normalised and need no group norm.
    """
    levels = _outputs_after(MOBILENET_STRIDE_16, MOBILENET_STRIDE_32)
    return AffinityNetwork(mobilenet_v2(8), levels, channels=(96, 320, 1280))
