"""Published checkpoints → the parameters of a network, by name and shape."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import torch
from torch import Tensor, nn

from seedbed.errors import UserError
from seedbed.weights.caffe import read_caffe
from seedbed.weights.mxnet import read_mxnet
from seedbed.weights.numpy_dict import read_numpy
from seedbed.weights.safetensors_file import read_safetensors
from seedbed.weights.tensorflow import read_tensorflow

BACKBONE = "features."
READERS = {
    "*.caffemodel": read_caffe,
    "*.params": read_mxnet,
    "*.np[yz]": read_numpy,
    "*.safetensors": read_safetensors,
    "*.ckpt*": read_tensorflow,
    "*.index": read_tensorflow,
    "*.data-*-of-*": read_tensorflow,
}
UNREADABLE = (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, LookupError)


@dataclass(frozen=True)
class Report:
    """Names of tensors: placed in the network, missing from the file, left over in the file."""

    placed: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]


def load(model: nn.Module, path: str | Path) -> Report:
    """Fill `model` in place with what `path` (see `read_tensors`) holds under its names.

    Half precision is widened to that of the network. A tensor of another shape is an error in
    the backbone; elsewhere (a head for other classes) it counts as missing and left over.
    Raises UserError for an unreadable file, a wrong shape and a file that fits nothing.
    """
    tensors = read_tensors(path)
    state = model.state_dict()
    placed = [name for name in state if _fits(name, state[name], tensors, path)]
    # Batch norm's counters are placed, but alone they say nothing about the network.
    if not any(state[name].is_floating_point() for name in placed):
        raise UserError(f"weights {path} hold no tensor of this network; name its own weights")
    model.load_state_dict({name: tensors[name] for name in placed}, strict=False)
    return Report(
        placed=tuple(placed),
        missing=tuple(name for name in state if name not in placed),
        left_over=tuple(name for name in tensors if name not in placed),
    )


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Tensors by the file's own names; raises UserError for a file of another kind.

    `.caffemodel`, MXNet's `.params`, `.npy` and `.npz` dictionaries, `.safetensors` and
    TensorFlow's checkpoints of both versions are known by their names, the rest is PyTorch's:
    there, a `state_dict` wrapper and `module.` prefixes are taken off.
    """
    name = Path(path).name
    for pattern, read in READERS.items():
        if fnmatch(name, pattern):
            return read(Path(path))
    return _read_state_dict(path)


def _read_state_dict(path: str | Path) -> dict[str, Tensor]:
    content = read_file(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise UserError(f"weights {path} hold no state dict but a {type(content).__name__}")
    return {
        str(name).removeprefix("module."): value
        for name, value in content.items()
        if isinstance(value, Tensor)
    }


def read_file(path: str | Path) -> object:
    """The content of a file of torch.save, on the CPU; nothing in it is executed."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"weights {path} do not exist; check the name") from None
    except UNREADABLE as error:
        raise UserError(
            f"weights {path} are damaged, cut short or no plain PyTorch file; fetch them again"
        ) from error


def _fits(name: str, own: Tensor, tensors: Mapping[str, Tensor], path: str | Path) -> bool:
    if name not in tensors:
        return False
    theirs = tensors[name]
    if theirs.shape == own.shape:
        return True
    if name.startswith(BACKBONE):
        raise UserError(
            f"weights {path}: {name} has shape {tuple(theirs.shape)},"
            f" the network's has {tuple(own.shape)}; choose the network they were made for"
        )
    return False
