"""Weight files of any published format → tensors by the names in the file."""

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import MAGIC_PREFIX
from torch import Tensor

from seedbed.formats.pickles import restricted
from seedbed.formats.signatures import GIT_LFS, GZIP, HTML, kind_of
from seedbed.formats.weights.caffe import read_caffe
from seedbed.formats.weights.mxnet import LIST_MAGIC, read_mxnet
from seedbed.formats.weights.numpy_dict import read_numpy
from seedbed.formats.weights.pytorch import (
    LOCAL_HEADER,
    MAGIC,
    ZIP,
    OtherArchiveError,
    Skipped,
    TensorPickle,
    read_pytorch,
)
from seedbed.formats.weights.reading import Reader
from seedbed.formats.weights.safetensors_file import read_safetensors
from seedbed.formats.weights.tensorflow import read_tensorflow
from seedbed.runtime.errors import UserError

NESTING = 4  # dicts within dicts whose tensors are read
START = 512  # bytes that tell a file's kind
MXNET = LIST_MAGIC.to_bytes(16, "little")
TORCH_MAGIC = MAGIC.to_bytes(10, "little")  # in a pickle, before PyTorch 1.6
PICKLES = tuple(bytes([0x80, protocol]) for protocol in (2, 3, 4, 5))

BY_NAME = {
    "*.caffemodel": read_caffe,
    "*.params": read_mxnet,
    "*.np[yz]": read_numpy,
    "*.safetensors": read_safetensors,
    "*.ckpt*": read_tensorflow,
    "*.index": read_tensorflow,
    "*.data-*-of-*": read_tensorflow,
}
# What a download often leaves instead of the file, and what to do.
OTHERS = {
    GIT_LFS: "a Git LFS pointer; get the file with git lfs pull",
    HTML: "a web page; download the file itself",
    GZIP: "a gzip archive; unpack it",
}
HDF5 = b"\x89HDF\r\n\x1a\n"
# ir_version, below 32, and the tag of any other field of a ModelProto (onnx.proto).
ONNX_START = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x28\x32\x3a\x42]")


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Read all tensors of a weight file.

    The format is recognised by the first bytes: files of PyTorch, safetensors, MXNet, NumPy
    (`.npy` and `.npz`) and pickles of arrays by name may have any name. Those of Caffe
    (`.caffemodel`) and TensorFlow (checkpoints of both versions) are recognised by their names.
    All other files are read as PyTorch's.

    Returns:
        Tensors by the names in the file, without those of a wrapper that holds all of them, such as
        a `state_dict`. Tensors of several dicts have dots between the keys: "model_ema.conv1.bias".

    Raises:
        UserError: if the file cannot be read or has another format.

    """
    path = Path(path)
    start = _first_bytes(path)
    _refuse_others(path, start)
    if read := _by_content(path, start) or _by_name(path):
        return read(path)
    return _read_state_dict(path)


def _first_bytes(path: Path) -> bytes:
    """A file's first bytes; none if there is no such file."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(START)


def _refuse_others(path: Path, start: bytes) -> None:
    """Refuse other kinds of files, and what a download often leaves instead of the file."""
    if what := OTHERS.get(kind_of(start)):
        raise UserError(f"weights {path} are {what}")
    if start.startswith(HDF5):
        raise UserError(
            f"weights {path} are an HDF5 file, as of Keras; save its arrays by name with"
            " numpy.savez"
        )
    if ONNX_START.match(start) and not _is_safetensors(start):
        raise UserError(f"weights {path} are an ONNX model; name the file that it was made from")


def _by_content(path: Path, start: bytes) -> Reader | None:
    """The reader of a file by its first bytes; None if they do not tell."""
    if start.startswith(ZIP):
        return read_numpy if _is_npz(path, start) else _read_state_dict
    if start.startswith(PICKLES):
        return _read_state_dict if TORCH_MAGIC in start[:64] else _read_pickle
    if _is_safetensors(start):
        return read_safetensors
    if start.startswith(MAGIC_PREFIX):
        return read_numpy
    return read_mxnet if start.startswith(MXNET) else None


def _is_npz(path: Path, start: bytes) -> bool:
    """Whether a zip archive is NumPy's, by the name of its first member or by its own."""
    length = int.from_bytes(start[26:28], "little")
    member = start[LOCAL_HEADER : LOCAL_HEADER + length]
    return member.endswith(b".npy") or (path.suffix == ".npz" and b"/data.pkl" not in member)


def _is_safetensors(start: bytes) -> bool:
    """Whether a file begins with eight bytes, the length of its header, and the header's brace."""
    return start[4:9] == b"\0\0\0\0{"  # of less than 4 GB


def _by_name(path: Path) -> Reader | None:
    """The reader of a file by its name; None if it is none of those that are told by it."""
    for pattern, read in BY_NAME.items():
        if fnmatch(path.name, pattern):
            return read
    # Version 2 checkpoints can have any prefix: SPSM's are model.vgg and model.resnet.
    return read_tensorflow if path.with_name(f"{path.name}.index").is_file() else None


def _read_state_dict(path: Path) -> dict[str, Tensor]:
    return _tensors_of(read_file(path), path)


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """Read a plain pickle that holds arrays or tensors by name, as detectron2's files do."""
    return _tensors_of(_with_tensors(restricted.load(path, TensorPickle)), path)


def _with_tensors(content: object) -> object:
    """A dict with its numeric arrays, and those of the dicts in it, as float32 tensors."""
    if isinstance(content, Mapping):
        return {key: _with_tensors(value) for key, value in content.items()}
    if isinstance(content, np.ndarray) and content.dtype.kind in "fiub":
        return torch.from_numpy(content.astype(np.float32, order="C"))
    return content


def _tensors_of(content: object, path: Path) -> dict[str, Tensor]:
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
    except OtherArchiveError as error:
        raise UserError(f"weights {path} are {error}; unpack it, and name its weights") from error
    except Exception as error:  # a broken or malicious pickle raises exceptions of any type
        raise UserError(
            f"weights {path} are damaged, cut short or no plain PyTorch file; fetch them again"
        ) from error
