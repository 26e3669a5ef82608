"""Backbones of timm (PyTorch Image Models) by their names there; needs the package timm."""

import difflib
import inspect
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from seedbed.models.network import Backbone, Preprocessing
from seedbed.runtime.errors import UserError

LOW_STRIDE = 4  # of the low-level features, or the next coarser one that the network has
PROBE = (8, 12)  # cells of the image that tells a network's grid; far from any default size
# What timm's own keyword is for networks that have positions of patches (ViT, Swin, EVA).
ANY_SIZE = "dynamic_img_size"


class TimmFeatures(nn.Module):
    """Features of a timm network: those of its last level and, if there are some, low-level ones.

    Images are first enlarged to whole cells of the last level. Patch embeddings have no padding:
    they refuse an image with a rest, or leave the rest out, and the maps would cover only a part
    of the image.

    Batch norms always use their loaded statistics, see `FrozenBatchNorm`.

    Args:
        network: timm's network.
        indices: of its levels, in the order of `feature_info`.
        stride: pixels per cell of the last level.

    """

    def __init__(self, network: nn.Module, indices: list[int], stride: int) -> None:
        super().__init__()
        network.prune_intermediate_layers(indices, prune_norm=False, prune_head=True)
        self.timm = network
        self.indices = indices
        self.stride = stride

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all layers but batch norms, which stay in evaluation mode."""
        super().train(mode)
        for layer in self.modules():
            if isinstance(layer, _BatchNorm):
                layer.eval()
        return self

    def levels(self, images: Tensor) -> list[Tensor]:
        """Preprocessed images (N, 3, H, W) → the levels' features (N, c, h, w), the finest first.

        ViTs give the patches' tokens after the last norm, on the grid of the patches.
        """
        sides = [self.input_side(side) for side in images.shape[2:]]
        whole = F.interpolate(images, size=sides, mode="bilinear", align_corners=False)
        return self.timm.forward_intermediates(
            whole, indices=self.indices, norm=True, output_fmt="NCHW", intermediates_only=True
        )

    def input_side(self, side: int) -> int:
        """The multiple of the stride to which a side of the images is resized."""
        # Not -(-side // stride): a trace for ONNX rounds towards 0.
        return (side + self.stride - 1) // self.stride * self.stride

    def forward(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → (N, c, ceil(H / stride), ceil(W / stride))."""
        return self.levels(images)[-1]


def timm_backbone(name: str, output_stride: int | None) -> Backbone:
    """A backbone of timm with random weights.

    Args:
        name: timm's name, with or without a tag: "resnet50", "convnext_tiny.fb_in22k". The tag says
            which published weights are meant, and so how images are normalised.
        output_stride: pixels per cell, by dilation; None: the network's own.

    Raises:
        UserError: if timm is not installed or has no such network, or if the network cannot have
            that stride, takes images of one size only or gives no maps of whole images.

    """
    with torch.device("meta"):  # without memory for weights: what does the network take and give?
        options = _options(name, output_stride)
        draft = _features(name, options, output_stride)
        shapes = _shapes(draft.eval(), name)
    features = _features(name, options, output_stride)
    *low, high = shapes
    return Backbone(
        features,
        channels=high[1],
        stride=draft.stride,
        low_layers=None,
        low_channels=low[0][1] if low else 0,
        low_stride=PROBE[0] * draft.stride // low[0][2] if low else draft.stride,
        norm=True,  # networks differ in the scale of their features
        preprocessing=_preprocessing(features.timm),
    )


def _options(name: str, output_stride: int | None) -> dict[str, Any]:
    """Keywords for timm's network, of those that its class has."""
    known = inspect.signature(type(_create(name)).__init__).parameters
    wanted = {ANY_SIZE: True, "output_stride": output_stride}
    return {key: value for key, value in wanted.items() if key in known and value is not None}


def _features(name: str, options: dict[str, Any], output_stride: int | None) -> TimmFeatures:
    """The features of a network; UserError if it has another stride than the one asked for."""
    try:
        network = _create(name, **options)
    except (AssertionError, NotImplementedError, ValueError, KeyError) as error:
        raise _wrong_stride(name, output_stride, "its own") from error
    strides = [level["reduction"] for level in network.feature_info]
    last = len(strides) - 1
    if output_stride not in (None, strides[last]):
        raise _wrong_stride(name, output_stride, str(strides[last]))
    finer = [(s, place) for place, s in enumerate(strides) if LOW_STRIDE <= s < strides[last]]
    low = [min(finer)[1]] if finer else []
    return TimmFeatures(network, [*low, last], strides[last])


def _create(name: str, **options: Any) -> nn.Module:  # noqa: ANN401 - as timm.create_model
    try:
        import timm
    except ImportError:
        raise UserError(
            f"network timm:{name} needs timm: python -m pip install 'seedbed[timm]'"
        ) from None
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, **options)
    except RuntimeError as error:  # an unknown name or tag
        known = difflib.get_close_matches(name, timm.list_models(include_tags=True), cutoff=0.5)
        similar = f"; similar ones: {', '.join(known)}" if known else ""
        raise UserError(f"timm {timm.__version__} has no network {name}{similar}") from error


def _wrong_stride(name: str, wanted: int | None, has: str) -> UserError:
    return UserError(
        f"options.output_stride: timm:{name} cannot have {wanted}; leave it out for {has}"
    )


@torch.no_grad()
def _shapes(features: TimmFeatures, name: str) -> list[torch.Size]:
    """Shapes of the levels of an image of PROBE cells; UserError if the last has other cells."""
    rows, columns = (cells * features.stride for cells in PROBE)
    try:
        shapes = [level.shape for level in features.levels(torch.zeros(1, 3, rows, columns))]
    except Exception as error:  # whatever a network for images of one size raises
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"timm:{name} gives no maps of an image of {rows} x {columns} pixels ({reason});"
            " choose a network for images of any size"
        ) from error
    if shapes[-1][2:] != PROBE:
        grid = " x ".join(map(str, shapes[-1][2:]))
        raise UserError(
            f"timm:{name} gives {grid} cells of an image of {rows} x {columns} pixels, not cells"
            f" of {features.stride} pixels; choose another network"
        )
    return shapes


def _preprocessing(network: nn.Module) -> Preprocessing:
    """The normalisation that timm says the network's weights expect."""
    from timm.data import resolve_model_data_config

    config = resolve_model_data_config(network)
    return Preprocessing(255, mean=tuple(config["mean"]), std=tuple(config["std"]))
