"""Published checkpoints → the parameters of a network, by name and shape."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from torch import Tensor

from seedbed.formats.weights.files import read_tensors
from seedbed.models.network import Network
from seedbed.models.weights.names import (
    TensorSource,
    find_prefixes,
    find_sources,
    is_counter,
    required_names,
)
from seedbed.runtime.errors import UserError

BACKBONE = "features."
# Layers by which a file tells whose VGG-16 or ResNet it holds.
TORCHVISION_VGG = ("classifier.0.weight",)
TORCHVISION_RESNET = ("fc.weight", "layer4.0.conv1.weight")
CAFFE_VGG = "conv1_1"
CAFFE_RESNET = "res2a_branch2a"  # of ResNet-38 as well, whose images are normalised RGB


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did with each tensor.

    Attributes:
        placed: names of the network's tensors that were filled from the file.
        missing: names of the network's tensors that the file does not have. Batch norm's counters
            are not listed: they have no effect on frozen statistics.
        unused: names of the file's tensors that were not used.

    """

    placed: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]


NewHead = bool | Literal["partial"]


def load_weights(model: Network, path: str | Path, *, new_head: NewHead = False) -> LoadReport:
    """Fill a network's parameters in place from a checkpoint of any published format.

    Tensors are found by our own names and by the published ones (`models.weights.layer_names`),
    under any prefix: "module.", "state_dict.model.backbone." and the like. If the file also has a
    moving average of the weights (EMA), that is read.

    Args:
        model: the network.
        path: the checkpoint, see `read_tensors`.
        new_head: False: the file must fit. True: keep the randomly initialised layers after the
            backbone, whatever the file holds for them. "partial": keep only those whose shape in
            the file differs, such as fc6 and fc7 of the full VGG-16.

    Raises:
        UserError: if the file cannot be read, has no tensor of the network's backbone, not all of
            them, or those of a deeper one, or if a tensor has the wrong shape. The network is
            unchanged then.

    """
    tensors = read_tensors(path)
    state = model.state_dict()
    wanted = [name for name in state if not (new_head is True and _in_new_head(name, model))]
    prefixes = find_prefixes(wanted, tensors)
    sources = find_sources(wanted, tensors, prefixes[0])
    pretrained = [name for name in required_names(state) if not name.startswith(model.new_parts)]
    _check_backbone(sources, pretrained, path)
    if len(prefixes) > 1:
        raise UserError(
            f"weights {path} hold this network several times, as {prefixes[0]}* and"
            f" {prefixes[1]}*; keep one of them"
        )
    backbone = {sources[name].name for name in required_names(state) if name in sources}
    _check_depth(tensors, backbone, path)
    _check_input(model, tensors, sources, prefixes[0], path)
    values = {name: _convert(tensors, source, state[name]) for name, source in sources.items()}
    if new_head == "partial":
        values = {k: v for k, v in values.items() if _fits(k, v, state)}
    _check_shapes(values, sources, model, path)
    model.load_state_dict(values, strict=False)
    used = {sources[name].name for name in values}
    return LoadReport(
        placed=tuple(values),
        missing=tuple(name for name in state if name not in values and not is_counter(name)),
        unused=tuple(name for name in tensors if name not in used),
    )


def _convert(tensors: Mapping[str, Tensor], source: TensorSource, parameter: Tensor) -> Tensor:
    """A tensor of the file in PyTorch's axes; a matrix becomes a 1x1 convolution if needed."""
    values = source.convert(tensors[source.name])
    return values[..., None, None] if (*values.shape, 1, 1) == parameter.shape else values


def _in_new_head(name: str, model: Network) -> bool:
    return name.startswith(model.new_parts) and not name.startswith(BACKBONE)


def _fits(name: str, value: Tensor, state: Mapping[str, Tensor]) -> bool:
    """Whether a layer after the backbone has the network's shape; the backbone has to have it."""
    return name.startswith(BACKBONE) or value.shape == state[name].shape


def _check_backbone(placed: Collection[str], required: Sequence[str], path: str | Path) -> None:
    # Counters have the same names in many networks.
    if not any(name.startswith(BACKBONE) and not is_counter(name) for name in placed):
        raise UserError(
            f"weights {path} hold no tensor of this network's backbone; name its own weights"
        )
    if absent := [name for name in required if name not in placed]:
        raise UserError(
            f"weights {path} lack {absent[0]} of this network's backbone (tensors missing:"
            f" {len(absent)}); choose the network they were made for"
        )


def _check_depth(tensors: Collection[str], used: Collection[str], path: str | Path) -> None:
    """Refuse a deeper network, such as ResNet-152 for ResNet-101: its blocks have the same names.

    Args:
        tensors: names of the file's tensors, in its order.
        used: names of those in the backbone.
        path: the file.

    """
    rows = Counter(pattern for name in used for pattern in _without_a_number(name))
    end = max((place for place, name in enumerate(tensors) if name in used), default=0)
    further = [
        name
        for name in islice(tensors, end)  # what follows the whole backbone is a head's
        if name not in used and any(rows[pattern] > 1 for pattern in _without_a_number(name))
    ]
    if further:
        raise UserError(
            f"weights {path} are a deeper network's: this one has no {further[0]} (tensors too"
            f" many: {len(further)}); choose the network they were made for"
        )


def _without_a_number(name: str) -> list[str]:
    """A name with each of its numbers replaced by "#", one at a time."""
    return [f"{name[: n.start()]}#{name[n.end() :]}" for n in re.finditer(r"\d+", name)]


def _check_input(
    model: Network,
    tensors: Collection[str],
    sources: Mapping[str, TensorSource],
    prefix: str,
    path: str | Path,
) -> None:
    """Refuse weights of the same layers that were trained on images of other values.

    torchvision's networks take normalised RGB, Caffe's blue, green, red in levels of 0 to 255.
    Their ResNets also differ in which convolution of a block has its stride.
    """

    def holds(names: Sequence[str]) -> bool:
        return all(f"{prefix}{name}" in tensors for name in names)

    if model.preprocessing.bgr and holds(TORCHVISION_VGG):
        raise UserError(
            f"weights {path} are torchvision's VGG-16, for RGB images; this network takes those of"
            " Caffe's, such as vgg16_20M.caffemodel"
        )
    strides_as_caffe = getattr(model, "stride_in_first", False)
    if (model.preprocessing.bgr or strides_as_caffe) and holds(TORCHVISION_RESNET):
        raise UserError(
            f"weights {path} are torchvision's ResNet, for RGB images; set options:"
            " {preprocessing: imagenet, stride_in_first: false}, or, if they were Caffe's, remove"
            " fc.weight from the file"
        )
    caffe = [CAFFE_VGG, *([CAFFE_RESNET] if hasattr(model, "stride_in_first") else [])]
    if not model.preprocessing.bgr and any(c in s.name for c in caffe for s in sources.values()):
        raise UserError(
            f"weights {path} are Caffe's, for images in blue, green, red; this network takes"
            " torchvision's, or set options: {preprocessing: caffe} if it has that option"
        )


def _check_shapes(
    values: Mapping[str, Tensor],
    sources: Mapping[str, TensorSource],
    model: Network,
    path: str | Path,
) -> None:
    state = model.state_dict()
    for name, value in values.items():
        if value.shape != state[name].shape:
            remedy = "or set new_head" if _in_new_head(name, model) else "with as many classes"
            raise UserError(
                f"weights {path}: {sources[name].name} has shape {tuple(value.shape)}, the"
                f" network's {name} {tuple(state[name].shape)}; choose the network they were made"
                f" for, {remedy}"
            )
