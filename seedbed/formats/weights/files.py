"""Weight files of any published format → tensors by the names in the file."""

from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

from torch import Tensor

from seedbed.formats.weights.caffe import read_caffe
from seedbed.formats.weights.mxnet import read_mxnet
from seedbed.formats.weights.numpy_dict import read_numpy
from seedbed.formats.weights.pytorch import read_pytorch
from seedbed.formats.weights.safetensors_file import read_safetensors
from seedbed.formats.weights.tensorflow import read_tensorflow
from seedbed.runtime.errors import UserError

READERS = {
    "*.caffemodel": read_caffe,
    "*.params": read_mxnet,
    "*.np[yz]": read_numpy,
    "*.safetensors": read_safetensors,
    "*.ckpt*": read_tensorflow,
    "*.index": read_tensorflow,
    "*.data-*-of-*": read_tensorflow,
}


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read all tensors of a weight file.

    The format is chosen by the file's name: `.caffemodel`, MXNet's `.params`, `.npy` and `.npz`,
    `.safetensors`, and TensorFlow checkpoints of both versions. All other files are read as
    PyTorch's; if they hold a dict with a `state_dict`, that one is read.

    Returns:
        Tensors by the names in the file.

    Raises:
        UserError: if the file cannot be read or has another format.

    """
    path = Path(path)
    for pattern, read in READERS.items():
        if fnmatch(path.name, pattern):
            return read(path)
    # Version 2 checkpoints can have any prefix: SPSM's are model.vgg and model.resnet.
    if path.with_name(f"{path.name}.index").is_file():
        return read_tensorflow(path)
    return _read_state_dict(path)


def _read_state_dict(path: str | Path) -> dict[str, Tensor]:
    content = read_file(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise UserError(f"weights {path} hold no state dict but a {type(content).__name__}")
    return {
        name: value
        for name, value in content.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }


def read_file(path: str | Path) -> object:
    """Read a file written by torch.save; tensors are on the CPU, nothing is executed."""
    try:
        return read_pytorch(Path(path))
    except FileNotFoundError:
        raise UserError(f"weights {path} do not exist; check the name") from None
    except Exception as error:  # a broken or malicious pickle raises exceptions of any type
        raise UserError(
            f"weights {path} are damaged, cut short or no plain PyTorch file; fetch them again"
        ) from error
