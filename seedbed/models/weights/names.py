"""Our parameters in published files: under which names, and how the numbers there become ours.

A name is made of a layer (see `layer_names`) and a parameter, which each framework spells its own
way: "conv1_1.weight" (PyTorch, and so our reader of Caffe's models), "arg:bn7_gamma" (MXNet),
"bn_conv1/gamma" and "conv1_1_weights" (TensorFlow), "conv1_1.w" (dictionaries of NumPy).
"""

from collections.abc import Callable, Collection, Iterator
from typing import NamedTuple

from torch import Tensor

from seedbed.models.weights.layer_names import PSA_VGG16, LayerNames, published_layers

Convert = Callable[[Tensor], Tensor]

COUNTER = "num_batches_tracked"
PREFIXES = ("", "module.", "arg:", "aux:")  # of DataParallel and MXNet


class Source(NamedTuple):
    """A tensor's name in a file, and what makes it a parameter of ours."""

    name: str
    convert: Convert


def find_sources(ours: Collection[str], published: Collection[str]) -> dict[str, Source]:
    """Our parameters' names → where a file with the names `published` has them, if it does.

    One published tensor may fill several parameters. Where a file has several for one, its
    network's own come before those of a network that it began with.
    """
    layers = published_layers({_layer(name) for name in ours})
    found = {}
    for name in ours:
        present = (source for source in _candidates(name, layers) if source.name in published)
        if source := next(present, None):
            found[name] = source
    return found


def required(ours: Collection[str]) -> list[str]:
    """Those of our parameters that every checkpoint made for their backbone has."""
    layers = published_layers({_layer(name) for name in ours})
    backbone = {name for name in layers if name.startswith("features.")} - PSA_VGG16.keys()
    return [name for name in ours if _layer(name) in backbone and not is_counter(name)]


def is_counter(name: str) -> bool:
    """Whether a parameter is a batch norm's count of batches, which old files do not have."""
    return name.endswith(f".{COUNTER}")


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def _candidates(name: str, layers: LayerNames) -> Iterator[Source]:
    layer, _, parameter = name.rpartition(".")
    for published in (layer, *layers.get(layer, ())):
        for spelling, convert in SPELLINGS[parameter].items():
            for prefix in PREFIXES:
                yield Source(f"{prefix}{published}{spelling}", convert)


def _as_it_is(values: Tensor) -> Tensor:
    return values


def _from_tensorflow(kernel: Tensor) -> Tensor:
    """(height, width, in, out) → (out, in, height, width)."""
    return kernel.permute(3, 2, 0, 1) if kernel.dim() == 4 else kernel


SPELLINGS: dict[str, dict[str, Convert]] = {
    "weight": {
        ".weight": _as_it_is,
        "_weight": _as_it_is,
        "_gamma": _as_it_is,
        "/gamma": _as_it_is,
        ".w": _from_tensorflow,
        "_weights": _from_tensorflow,
        "/weights": _from_tensorflow,
    },
    "bias": dict.fromkeys((".bias", "_bias", "_beta", "/beta", ".b", "/biases"), _as_it_is),
    "running_mean": dict.fromkeys((".running_mean", "_moving_mean", "/moving_mean"), _as_it_is),
    "running_var": dict.fromkeys((".running_var", "_moving_var", "/moving_variance"), _as_it_is),
    COUNTER: {f".{COUNTER}": _as_it_is},
}
