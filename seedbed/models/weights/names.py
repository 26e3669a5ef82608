"""Where published files hold the parameters of our networks.

A parameter's name consists of a layer (see `layer_names`) and a parameter of that layer, which each
framework spells differently: "conv1_1.weight" (PyTorch, and our reader of Caffe models),
"arg:bn7_gamma" (MXNet), "bn_conv1/gamma" and "conv1_1_weights" (TensorFlow), "conv1_1.w" (NumPy
dictionaries).
"""

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from torch import Tensor

from seedbed.models.weights.layer_names import PSA_VGG16, LayerNames, published_layers

Convert = Callable[[Tensor], Tensor]

COUNTER = "num_batches_tracked"
PREFIXES = ("", "module.", "arg:", "aux:")  # of PyTorch's DataParallel and of MXNet


class Source(NamedTuple):
    """The name of a tensor in a file, and the function that converts it to PyTorch's axes."""

    name: str
    convert: Convert


def find_sources(ours: Collection[str], published: Collection[str]) -> dict[str, Source]:
    """Find our parameters among the tensors of a file.

    Args:
        ours: names of our parameters.
        published: names of the file's tensors.

    Returns:
        The source of each of our parameters that the file has. Several parameters may have the
        same source. If a file has several tensors for a parameter, the network's own layer is
        preferred to the layer of the network that its training started from.

    """
    layers = published_layers({_layer(name) for name in ours})
    sources = {}
    for name in ours:
        present = (source for source in _candidates(name, layers) if source.name in published)
        if source := next(present, None):
            sources[name] = source
    return sources


def required_names(ours: Collection[str]) -> list[str]:
    """Those of our parameters that every checkpoint of their backbone has."""
    layers = published_layers({_layer(name) for name in ours})
    backbone = {name for name in layers if name.startswith("features.")} - PSA_VGG16.keys()
    return [name for name in ours if _layer(name) in backbone and not is_counter(name)]


def is_counter(name: str) -> bool:
    """Whether a parameter is batch norm's number of batches, which old files do not have."""
    return name.endswith(f".{COUNTER}")


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _candidates(name: str, layers: LayerNames) -> Iterator[Source]:
    """All names that a parameter can have in a file, the preferred ones first."""
    layer, _, parameter = name.rpartition(".")
    for published in (layer, *layers.get(layer, ())):
        for spelling, convert in SPELLINGS[parameter].items():
            for prefix in PREFIXES:
                yield Source(f"{prefix}{published}{spelling}", convert)


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
