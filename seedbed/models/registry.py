"""The networks by name and what each accepts; reading this module does not import PyTorch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from seedbed.runtime.errors import UserError

if TYPE_CHECKING:
    from seedbed.models.network import Network

Option = bool | int | float | str
Kind = Literal["cls", "seg", "group", "affinity"]


@dataclass(frozen=True)
class NetworkInfo:
    """What is known of a network before it is built.

    Attributes:
        backbone: networks of the same backbone, which also normalise images alike, can start from
            each other's weights.
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
TIMM_STRIDES = (4, 8, 16, 32)  # most networks support only some of these


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
    "vgg16_group": NetworkInfo("vgg16 of torchvision", "group", GROUP),
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

TIMM = "timm:"
TIMM_NAME = re.compile(r"timm:(?P<model>\w+(\.[\w-]+)?)/(?P<kind>cls|seg|group)", re.ASCII)


def network_info(name: str) -> NetworkInfo:
    """What is known of a network: of `NETWORKS`, or any of timm's, "timm:NAME/cls|seg|group".

    Whether timm has the network, and with which output strides, shows only when it is built.

    Raises:
        UserError: if the name is unknown.

    """
    if name in NETWORKS:
        return NETWORKS[name]
    if not (match := TIMM_NAME.fullmatch(name)):
        known = (*NETWORKS, *(f"timm:NAME/{kind}" for kind in SMALL_HEADS))
        raise UserError(f"network {name!r} is not known; choose one of {', '.join(known)}")
    kind = cast("Kind", match["kind"])
    options = ("output_stride", *SMALL_HEADS[kind])
    return NetworkInfo(TIMM + match["model"], kind, options, TIMM_STRIDES)


def names_of_kind(kind: Kind) -> list[str]:
    """The networks of a kind; "timm:NAME/seg" stands for all of timm's."""
    names = [name for name, info in NETWORKS.items() if info.kind == kind]
    return [*names, f"timm:NAME/{kind}"] if kind in SMALL_HEADS else names


def pretrained_file(name: str) -> str:
    """Where the published weights of one of timm's networks belong, relative to the data folder.

    Raises:
        UserError: if the network is not one of timm's, or its name does not say which weights.

    """
    model = match["model"] if (match := TIMM_NAME.fullmatch(name)) else ""
    if "." not in model:
        raise UserError(
            f"pretrained is for networks of timm named with their weights, such as"
            f" timm:resnet50.a1_in1k/{network_info(name).kind}, not {name}; name a file instead"
        )
    return f"weights/timm/{model}.safetensors"


def build(name: str, num_classes: int, **options: Option) -> Network:
    """Build a network, initialised from PyTorch's global random state.

    Args:
        name: a key of `NETWORKS`, or "timm:NAME/cls", "…/seg" or "…/group" for a network of timm.
        num_classes: number of output classes; it includes background for kind "seg" only.
        **options: keyword arguments of the network, see `NetworkInfo.options`.

    Raises:
        UserError: if the name is unknown, timm is not installed, or a network of timm cannot have
            the option's value.
        TypeError: if the network has no such option.
        ValueError: if an option has a value that the network does not allow.

    """
    # Imported here so that settings can read the table without loading PyTorch.
    from seedbed.models.builders import BUILDERS, timm_builder

    info = network_info(name)
    if num_classes < 1:
        raise ValueError(f"num_classes: {num_classes} is not positive")
    builder = BUILDERS.get(name) or timm_builder(info.backbone.removeprefix(TIMM), info.kind)
    return builder(num_classes, **options)
