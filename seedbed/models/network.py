"""The base class of all networks: a backbone with published layer names, and a head on it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from seedbed.methods.regions import Region


@dataclass(frozen=True)
class Preprocessing:
    """How a network's images are normalised: (levels / scale - mean) / std for each channel.

    Attributes:
        scale: divides the levels of 0 to 255.
        mean: one number for each channel, in the order of the network's channels.
        std: likewise.
        bgr: whether the network's channels are blue, green, red; else red, green, blue.

    """

    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    bgr: bool = False

    @property
    def mean_rgb(self) -> tuple[float, float, float]:
        """The RGB levels in [0, 255] that become 0."""
        red, green, blue = self.mean[::-1] if self.bgr else self.mean
        return self.scale * red, self.scale * green, self.scale * blue


IMAGENET = Preprocessing(255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
# The mean colour of ImageNet in levels, as each release for Caffe rounds it.
DSRG_MEAN = Preprocessing(1, mean=(104, 117, 123), bgr=True)
DEEPLAB_MEAN = Preprocessing(1, mean=(104.00698793, 116.66876762, 122.67891434), bgr=True)
SEC_MEAN = Preprocessing(1, mean=(104.008, 116.669, 122.675), bgr=True)  # PSA's VGG-16 too


@dataclass(frozen=True)
class Backbone:
    """Convolutional features and what a head must know of them.

    Attributes:
        features: maps (N, 3, H, W) to (N, channels, ~H / stride, ~W / stride).
        channels: number of channels of the features.
        stride: pixels per cell of the features.
        low_layers: the first `low_layers` modules of `features` give the low-level features,
            (N, low_channels, ~H / low_stride, ~W / low_stride); None: `features.levels` gives
            them, if there are some, before the others.
        low_channels: number of channels of the low-level features; 0 if there are none.
        low_stride: pixels per cell of the low-level features.
        scale: factor that brings the features to the order of one.
        low_scale: the same for the low-level features.
        pretrained: whether published weights exist.
        norm: whether a head's new layers use batch normalisation.
        preprocessing: normalisation of images that the weights expect.
        min_side: smallest side of an image in pixels.

    """

    features: nn.Module
    channels: int
    stride: int
    low_layers: int | None
    low_channels: int
    low_stride: int = 4
    scale: float = 1.0
    low_scale: float = 1.0
    pretrained: bool = True
    norm: bool = False
    preprocessing: Preprocessing = IMAGENET
    min_side: int = 1


class Network(nn.Module):
    """A backbone as submodule `features`; subclasses put their own layers into submodule `head`.

    Attributes:
        stride: pixels per cell of the maps that the network returns.
        new_parts: prefixes of the parameters that start from random values, not from published
            weights, and may have a learning rate of their own.
        feature_stride: pixels per cell of the backbone's last features.
        feature_scale: factor between the backbone's features and the head's input.
        preprocessing: normalisation of images, see `preprocess`.
        mean: its mean, a buffer float32 (3, 1, 1) that no file holds.
        std: likewise.
        min_side: smallest side of an image in pixels.

    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.features = backbone.features
        self.feature_scale = backbone.scale
        self.stride = self.feature_stride = backbone.stride
        self.preprocessing = backbone.preprocessing
        self.min_side = backbone.min_side
        self.new_parts = ("head.",) if backbone.pretrained else ("features.", "head.")
        # Buffers, because a copy from the host to a GPU in every call would wait for it.
        for name in ("mean", "std"):
            values = getattr(backbone.preprocessing, name)
            buffer = torch.tensor(values, dtype=torch.float32, device="cpu").view(3, 1, 1)
            self.register_buffer(name, buffer, persistent=False)

    def preprocess(self, images: Tensor) -> Tensor:
        """Normalise RGB uint8 images (N, 3, H, W) on the network's device; returns float32.

        The result has the same shape, in channels_last memory format, which makes training on a CPU
        a third faster.
        """
        ordered = images.flip(1) if self.preprocessing.bgr else images
        scaled = (ordered.float() / self.preprocessing.scale - self.mean) / self.std
        return scaled.contiguous(memory_format=torch.channels_last)

    def extract_features(self, images: Tensor) -> Tensor:
        """Preprocessed images (N, 3, H, W) → the head's input (N, channels, h, w)."""
        return self.features(images) * self.feature_scale

    def input_side(self, side: int) -> int:
        """The side to which the network itself resizes an image of this side."""
        return side

    def output_side(self, crop: int) -> int:
        """Side of the maps for an image with `crop` pixels a side; only in evaluation mode."""
        device = next(self.parameters()).device
        with torch.no_grad():
            return self.grids(torch.zeros(1, 3, crop, crop, device=device))[0].shape[-1]

    def grids(self, images: Tensor) -> Sequence[Tensor]:
        """Feature maps (N, C, h, w) of preprocessed images (N, 3, H, W).

        `forward_part` needs the region of each of their grids. The first has the grid of the
        output.
        """
        return [self(images)]

    def forward_part(self, images: Tensor, grids: Sequence[Region]) -> Tensor:
        """`forward` for a crop of a larger image.

        Args:
            images: preprocessed crop (N, 3, h, w) whose first row and column are multiples of all
                strides.
            grids: for each map of `grids`, the region of the whole image's map that the crop
                covers; ignored by networks that interpolate nothing inside.

        """
        return self(images)
