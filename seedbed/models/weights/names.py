"""Where published files hold the parameters of our networks.

A parameter's name consists of a layer (see `layer_names`) and a parameter of that layer, which each
framework spells differently: "conv1_1.weight" (PyTorch, and our reader of Caffe models),
"arg:bn7_gamma" (MXNet), "bn_conv1/gamma" and "conv1_1_weights" (TensorFlow), "conv1_1.w" (NumPy
dictionaries).

Before the layer stand the names of what contains the network in the file: a wrapper's key
("model_state_dict."), modules around it ("module.", "backbone.", "_orig_mod."), or MXNet's "arg:".
"""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from torch import Tensor

from seedbed.models.weights.layer_names import PSA_VGG16, LayerNames, published_layers

Convert = Callable[[Tensor], Tensor]

COUNTER = "num_batches_tracked"
MXNET_PREFIXES = ("arg:", "aux:")
AVERAGE = re.compile(r"(^|[._])ema([._]|$)")  # the exponential moving average of the weights


class TensorSource(NamedTuple):
    """The name of a tensor in a file, and the function that converts it to PyTorch's axes."""

    name: str
    convert: Convert


def find_prefixes(ours: Collection[str], published: Collection[str]) -> list[str]:
    """What stands in a file before the names of a network's layers, such as "module.backbone.".

    Args:
        ours: names of our parameters.
        published: names of the file's tensors.

    Returns:
        The prefixes under which the file has most of our parameters. Several only if it has equally
        many under each, and none of them is a moving average of the weights, which is preferred.

    """
    prefixes_by_name = defaultdict(list)
    for name in published:
        parts = name.split(".")
        for prefix in ("", *accumulate(f"{part}." for part in parts[:-1])):
            prefixes_by_name[name.removeprefix(prefix)].append(prefix)
    layers = published_layers({_layer(name) for name in ours})
    present = defaultdict(set)
    for name in ours:
        for source in _candidates(name, layers, ("",)):
            for prefix in prefixes_by_name.get(source.name, ()):
                present[prefix].add(name)
    most = max(map(len, present.values()), default=0)
    best = sorted((prefix for prefix in present if len(present[prefix]) == most), key=len)
    # Our own names begin with the backbone's: "module." and "module.features." are one network.
    best = [prefix for prefix in best if not prefix.startswith(tuple(set(best) - {prefix}))]
    return [prefix for prefix in best if AVERAGE.search(prefix)][:1] or best or [""]


def find_sources(
    ours: Collection[str], published: Collection[str], prefix: str = ""
) -> dict[str, TensorSource]:
    """Find our parameters among the tensors of a file.

    Args:
        ours: names of our parameters.
        published: names of the file's tensors.
        prefix: what stands before the names of the layers, see `find_prefixes`. A tensor that is
            not there is looked for in what contains the prefix: heads often stand beside backbones.

    Returns:
        The source of each of our parameters that the file has. Several parameters may have the
        same source. If a file has several tensors for a parameter, the network's own layer is
        preferred to the layer of the network that its training started from.

    """
    layers = published_layers({_layer(name) for name in ours})
    prefixes = (*_with_parents(prefix), *MXNET_PREFIXES)
    sources = {}
    for name in ours:
        candidates = _candidates(name, layers, prefixes)
        present = (source for source in candidates if source.name in published)
        if source := next(present, None):
            sources[name] = source
    return sources


def required_names(ours: Collection[str]) -> list[str]:
    """Those of our parameters that every checkpoint of their backbone has."""
    backbone = (name for name in ours if name.startswith("features.") and not is_counter(name))
    return [name for name in backbone if _layer(name) not in PSA_VGG16]


def is_counter(name: str) -> bool:
    """Whether a parameter is batch norm's number of batches, which old files do not have."""
    return name.endswith(f".{COUNTER}")


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _with_parents(prefix: str) -> list[str]:
    """A prefix "a.b.", then "a." and ""."""
    return ["", *accumulate(f"{part}." for part in prefix.split(".")[:-1])][::-1]


def _candidates(name: str, layers: LayerNames, prefixes: Iterable[str]) -> Iterator[TensorSource]:
    """All names that a parameter can have in a file, the preferred ones first."""
    layer, _, parameter = name.rpartition(".")
    for published in (layer, *layers.get(layer, ())):
        for spelling, convert in SPELLINGS.get(parameter, {f".{parameter}": _unchanged}).items():
            for prefix in prefixes:
                # A parameter of the network itself, such as a ViT's "cls_token", has no layer.
                yield TensorSource(prefix + f"{published}{spelling}".removeprefix("."), convert)


def _unchanged(values: Tensor) -> Tensor:
    return values


def _transpose_kernel(kernel: Tensor) -> Tensor:
    """(height, width, in, out) → (out, in, height, width)."""
    return kernel.permute(3, 2, 0, 1) if kernel.dim() == 4 else kernel


SPELLINGS: dict[str, dict[str, Convert]] = {
    "weight": {
        ".weight": _unchanged,
        "_weight": _unchanged,
        "_gamma": _unchanged,
        "/gamma": _unchanged,
        ".w": _transpose_kernel,
        "_weights": _transpose_kernel,
        "/weights": _transpose_kernel,
    },
    "bias": dict.fromkeys((".bias", "_bias", "_beta", "/beta", ".b", "/biases"), _unchanged),
    "running_mean": dict.fromkeys((".running_mean", "_moving_mean", "/moving_mean"), _unchanged),
    "running_var": dict.fromkeys((".running_var", "_moving_var", "/moving_variance"), _unchanged),
    COUNTER: {f".{COUNTER}": _unchanged},
}
