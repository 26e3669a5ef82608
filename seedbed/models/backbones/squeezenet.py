"""SqueezeNet 1.0 (Iandola et al., 2016) with the layer names of torchvision's release."""

import torch
from torch import Tensor, nn

from seedbed.models.layers import conv
from seedbed.models.network import Backbone


class Fire(nn.Module):
    """A 1x1 squeeze, then 1x1 and 3x3 expansions whose outputs are concatenated."""

    def __init__(self, inputs: int, squeezed: int, expanded: int, dilation: int = 1) -> None:
        super().__init__()
        self.squeeze = conv(inputs, squeezed, 1)
        self.expand1x1 = conv(squeezed, expanded, 1)
        self.expand3x3 = conv(squeezed, expanded, 3, dilation=dilation)

    def forward(self, features: Tensor) -> Tensor:
        """(N, inputs, h, w) → (N, 2 · expanded, h, w)."""
        squeezed = self.squeeze(features).relu_()
        return torch.cat([self.expand1x1(squeezed), self.expand3x3(squeezed)], dim=1).relu_()


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


def squeezenet1_0(output_stride: int) -> Backbone:
    """512 channels at stride 16 or 8; with 8 the last pool keeps the grid and the rest is dilated.

    There is no batch norm: the published activations have a standard deviation of about 40, and
    of 200 at stride 4; the scales bring them to the order of one.
    """
    if output_stride not in (8, 16):
        raise ValueError(f"output_stride: squeezenet1_0 has 8 or 16, not {output_stride}")
    fine = output_stride == 8
    features = nn.Sequential(
        conv(3, 96, 7, stride=2, padding=0),
        nn.ReLU(inplace=True),
        _pool(),
        Fire(96, 16, 64),
        Fire(128, 16, 64),
        Fire(128, 32, 128),
        _pool(),
        Fire(256, 32, 128),
        Fire(256, 48, 192),
        Fire(384, 48, 192),
        Fire(384, 64, 256),
        nn.MaxPool2d(3, stride=1, padding=1) if fine else _pool(),
        Fire(512, 64, 256, dilation=2 if fine else 1),
    )
    return Backbone(
        features,
        512,
        output_stride,
        low_layers=6,
        low_channels=256,
        scale=0.1,
        low_scale=0.01,
        min_side=13 if fine else 21,  # the first convolution and the pools have no padding
    )
