"""Frozen batch norms folded into convolutions, with faster CPU gradients."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seedbed.models.layers import FrozenBatchNorm


class FoldedSequential(nn.Sequential):
    """A sequence in which a convolution and the frozen batch norm after it are one operation.

    The norm's scale is multiplied into the weights and its shift becomes the bias, in training too,
    where gradients reach all three: the same up to rounding, without two passes over the features.
    """

    def forward(self, features: Tensor) -> Tensor:
        """The output of the last layer."""
        layers = iter(self)
        following = next(layers, None)
        while (layer := following) is not None:
            following = next(layers, None)
            plain = type(layer) is nn.Conv2d and layer.bias is None
            if plain and isinstance(following, FrozenBatchNorm):
                features = _conv_and_norm(features, layer, following)
                following = next(layers, None)
            else:
                features = layer(features)
        return features


def _conv_and_norm(features: Tensor, layer: nn.Conv2d, norm: FrozenBatchNorm) -> Tensor:
    """norm(layer(features)), of a convolution without a bias, by a single convolution."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    weight = layer.weight * scale[:, None, None, None]
    shift = norm.bias - norm.running_mean * scale
    keeps_size = layer.stride == (1, 1) and layer.padding == tuple(
        dilation * (side // 2)
        for dilation, side in zip(layer.dilation, layer.kernel_size, strict=True)
    )
    # On a CPU the gradients of some convolutions are slow; the outputs are not.
    if torch.is_grad_enabled() and features.device.type == "cpu" and keeps_size:
        if layer.kernel_size == (1, 1) and layer.groups == 1:
            # A matrix product, whose gradients stay in channels_last; those of conv2d do not.
            product = F.linear(features.permute(0, 2, 3, 1), weight.flatten(1), shift)
            return product.permute(0, 3, 1, 2)
        if layer.groups > 1 and layer.dilation != (1, 1):
            return dilated_on_grids(features, weight, shift, layer.dilation[0], layer.groups)
    return F.conv2d(
        features, weight, shift, layer.stride, layer.padding, layer.dilation, layer.groups
    )


def dilated_on_grids(
    features: Tensor, weight: Tensor, bias: Tensor, dilation: int, groups: int
) -> Tensor:
    """A dilated convolution that keeps the image's size, computed without dilation.

    The cells under a filter of dilation d are d apart, so each of the d² grids of every d-th row
    and column is convolved by itself. On a CPU PyTorch takes five times as long for the gradients
    of a dilated depthwise convolution as for those of an undilated one.

    Args:
        features: (N, C, H, W).
        weight: (K, C / groups, k, k) with an odd k.
        bias: (K,).
        dilation: d.
        groups: as of `torch.nn.functional.conv2d`.

    Returns:
        (N, K, H, W), in channels_last memory format.

    """
    n, channels, height, width = features.shape
    # Further rows and columns of zeros are what the convolution pads with anyway.
    padded = F.pad(features, (0, -width % dilation, 0, -height % dilation))
    rows, columns = padded.shape[2] // dilation, padded.shape[3] // dilation
    cells = padded.permute(0, 2, 3, 1).reshape(n, rows, dilation, columns, dilation, channels)
    grids = cells.permute(0, 2, 4, 1, 3, 5).flatten(0, 2).permute(0, 3, 1, 2)
    result = F.conv2d(grids, weight, bias, padding=weight.shape[2] // 2, groups=groups)
    cells = result.permute(0, 2, 3, 1).unflatten(0, (n, dilation, dilation))
    whole = cells.permute(0, 3, 1, 4, 2, 5).reshape(n, rows * dilation, columns * dilation, -1)
    return whole[:, :height, :width].contiguous().permute(0, 3, 1, 2)
