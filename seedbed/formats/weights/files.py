"""Weight files of any published format → tensors by the names in the file."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

from torch import Tensor

from seedbed.formats.weights.caffe import read_caffe
from seedbed.formats.weights.mxnet import read_mxnet
from seedbed.formats.weights.numpy_dict import read_numpy
from seedbed.formats.weights.pytorch import Skipped, read_pytorch
from seedbed.formats.weights.safetensors_file import read_safetensors
from seedbed.formats.weights.tensorflow import read_tensorflow
from seedbed.runtime.errors import UserError

NESTING = 4  # dicts within dicts whose tensors are read

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
    PyTorch's.

    Returns:
        Tensors by the names in the file, without those of a wrapper that holds all of them, such as
        a `state_dict`. Tensors of several dicts have dots between the keys: "model_ema.conv1.bias".

    Raises:
        UserError: if the file cannot be read or has another format.

    """
    path = Path(path)
    _refuse_placeholder(path)
    for pattern, read in READERS.items():
        if fnmatch(path.name, pattern):
            return read(path)
    # Version 2 checkpoints can have any prefix: SPSM's are model.vgg and model.resnet.
    if path.with_name(f"{path.name}.index").is_file():
        return read_tensorflow(path)
    return _read_state_dict(path)


def _refuse_placeholder(path: Path) -> None:
    """Refuse what a download often leaves instead of the file."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        start = file.read(512).lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise UserError(f"weights {path} are a Git LFS pointer; get the file with git lfs pull")
    if start.startswith((b"<!doctype html", b"<html")):
        raise UserError(f"weights {path} are a web page; download the file itself")


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    content = read_file(path)
    if not isinstance(content, Mapping):
        raise UserError(f"weights {path} hold no state dict but {_kind(content)}")
    tensors = dict(_nested_tensors(_unwrap(content), NESTING))
    modules = [
        value for value in content.values() if isinstance(value, Skipped) and value.is_module
    ]
    if modules and not tensors:
        raise UserError(f"weights {path} hold {_kind(modules[0])}")
    return tensors


def _unwrap(content: Mapping) -> Mapping:
    """The dict that holds all tensors, if it is the only one that has any."""
    dicts = [value for value in content.values() if isinstance(value, Mapping)]
    filled = [value for value in dicts if any(_nested_tensors(value, NESTING))]
    if len(filled) != 1 or any(isinstance(value, Tensor) for value in content.values()):
        return content
    return _unwrap(filled[0])


def _nested_tensors(content: Mapping, depth: int) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a dict and of the dicts in it, with dots between the keys."""
    for key, value in content.items():
        if not isinstance(key, str):
            continue
        if isinstance(value, Tensor):
            yield key, value
        elif isinstance(value, Mapping) and depth:
            for name, tensor in _nested_tensors(value, depth - 1):
                yield f"{key}.{name}", tensor


def _kind(content: object) -> str:
    """What a file holds instead of tensors, and what to do."""
    if not isinstance(content, Skipped):
        return f"a {type(content).__name__}; save a network's state_dict()"
    what = "the pickled module" if content.is_module else "a"
    return (
        f"{what} {content.name}, which cannot be read without its code; where that runs, save"
        " torch.save(model.state_dict(), …)"
    )


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
