"""The networks by name and what each accepts; reading this module does not import PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from seedbed.runtime.errors import UserError

if TYPE_CHECKING:
    from seedbed.models.network import Network

Option = bool | int | float | str
Kind = Literal["cls", "seg", "group", "affinity"]


@dataclass(frozen=True)
class NetworkInfo:
    """What is known of a network before it is built.

    Attributes:
        backbone: networks of the same backbone can start from each other's weights.
        kind: "cls" classifies images and has class maps, "seg" segments, "group" classifies
            groups of images, "affinity" compares pairs of pixels.
        options: the keyword arguments that `build` passes on to the network.
        output_strides: the allowed values of the option `output_stride`, if it has that option.
        min_crop: the shortest allowed side of a training image, in pixels.
        crop_multiple: the sides of a training image must be multiples of this many pixels.

    """

    backbone: str
    kind: Kind
    options: tuple[str, ...] = ()
    output_strides: tuple[int, ...] = ()
    min_crop: int = 32
    crop_multiple: int = 1


POOLING = ("top_weight", "top_fraction")
GROUP = ("width", "group_size", "graph_dropout_in_eval", *POOLING)
SMALL_HEADS: dict[Kind, tuple[str, ...]] = {
    "cls": ("dropout", *POOLING),
    "seg": ("dropout", "width", "rate", "skip"),
    "group": GROUP,
}


def _small(backbone: str, *output_strides: int) -> dict[str, NetworkInfo]:
    """The three networks of a small backbone."""
    return {
        f"{backbone}_{kind}": NetworkInfo(
            backbone, kind, ("output_stride", *options), output_strides
        )
        for kind, options in SMALL_HEADS.items()
    }


def _affinity(backbone: str, *options: str) -> NetworkInfo:
    """AffinityNet on a grid of 8-pixel cells: one cell must have neighbours up to 4 cells away."""
    return NetworkInfo(backbone, "affinity", options, min_crop=72, crop_multiple=8)


NETWORKS: dict[str, NetworkInfo] = {
    **_small("tiny", 4, 8),
    **_small("squeezenet1_0", 8, 16),
    **_small("mobilenet_v2", 8, 16, 32),
    "mobilenet_v2_affinity": _affinity("mobilenet_v2"),
    "vgg16_cls": NetworkInfo("vgg16", "cls", ("dropout", *POOLING)),
    "vgg16_affinity": _affinity("vgg16"),
    "vgg16_cam": NetworkInfo("vgg16", "cls", POOLING),
    "vgg16_group": NetworkInfo("vgg16", "group", GROUP),
    "vgg16_aspp": NetworkInfo("vgg16", "seg", ("padding",)),
    "vgg16_largefov": NetworkInfo("vgg16", "seg", ("padding", "dropout_in_eval")),
    "resnet101_deeplab": NetworkInfo(
        "resnet101",
        "seg",
        ("preprocessing", "stride_in_first", "norm_epsilon", "padding", "checkpointing"),
    ),
    "resnet38_cls": NetworkInfo("resnet38", "cls", ("dropout", "checkpointing", *POOLING)),
    "resnet38_affinity": _affinity("resnet38", "checkpointing"),
    "resnet38_seg": NetworkInfo("resnet38", "seg", ("checkpointing",)),
}


def build(name: str, num_classes: int, **options: Option) -> Network:
    """Build a network, initialised from PyTorch's global random state.

    Args:
        name: a key of `NETWORKS`.
        num_classes: number of output classes; it includes background for kind "seg" only.
        **options: keyword arguments of the network, see `NetworkInfo.options`.

    Raises:
        UserError: if the name is unknown.
        TypeError: if the network has no such option.
        ValueError: if an option has a value that the network does not allow.

    """
    # Imported here so that settings can read the table without loading PyTorch.
    from seedbed.models.builders import BUILDERS

    if name not in BUILDERS:
        raise UserError(f"network {name!r} is not known; choose one of {', '.join(NETWORKS)}")
    if num_classes < 1:
        raise ValueError(f"num_classes: {num_classes} is not positive")
    return BUILDERS[name](num_classes, **options)
