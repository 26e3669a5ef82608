"""Files of weights under any name, and files that hold none."""

import gzip
import json
import pickle
import zipfile

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from seedbed.formats.weights.files import read_tensors
from seedbed.runtime.errors import UserError
from tests.support.mxnet_writer import array_list, v2_array

W = torch.arange(6.0).reshape(2, 3)
STATE = {"conv1.weight": W}
ARRAYS = {"conv1.weight": W.numpy()}


def save_pytorch(path, **options):
    torch.save({"state_dict": STATE, "epoch": 3}, path, **options)


def save_arrays(path):
    with path.open("wb") as file:
        np.savez(file, **ARRAYS)


def save_dict(path):
    with path.open("wb") as file:
        np.save(file, ARRAYS, allow_pickle=True)


def save_pickle(path, content, protocol=4):
    path.write_bytes(pickle.dumps(content, protocol=protocol))


WRITERS = {
    "PyTorch": save_pytorch,
    "PyTorch before 1.6": lambda path: save_pytorch(path, _use_new_zipfile_serialization=False),
    "PyTorch before 1.6, protocol 4": lambda path: save_pytorch(
        path, _use_new_zipfile_serialization=False, pickle_protocol=4
    ),
    "safetensors": lambda path: save_file(STATE, path),
    "MXNet": lambda path: path.write_bytes(
        array_list([v2_array(W.shape, W.numpy().tobytes())], list(STATE))
    ),
    "npz": save_arrays,
    "npy": save_dict,
    "a pickle of arrays, as of detectron2": lambda path: save_pickle(
        path, {"model": ARRAYS, "__author__": "Detectron2 Model Zoo"}
    ),
    "a pickle of tensors, protocol 2": lambda path: save_pickle(path, STATE, protocol=2),
}
NAMES = ("epoch=3-step=10.ckpt", "best.ckpt.pth", "a.pth", "a.safetensors", "a.npz", "a.npy",
         "a.params", "a.caffemodel", "a.pkl", "weights")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("writer", WRITERS)
def test_files_are_read_by_their_content_under_any_name(tmp_path, writer, name):
    WRITERS[writer](tmp_path / name)
    found = read_tensors(tmp_path / name)
    assert list(found) == ["conv1.weight"] and torch.equal(found["conv1.weight"], W)


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file["block1_conv1/kernel:0"] = W.numpy()


def write_onnx(path):
    onnx = pytest.importorskip("onnx")
    graph = onnx.helper.make_graph([], "g", [], [], [onnx.numpy_helper.from_array(W.numpy(), "w")])
    onnx.save(onnx.helper.make_model(graph, producer_name="pytorch"), path)


def write_keras(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.0.0"}))


OTHERS = {
    "HDF5": (write_hdf5, "are an HDF5 file, as of Keras; save its arrays by name"),
    "ONNX": (write_onnx, "are an ONNX model; name the file that it was made from"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"weights")), "are a gzip archive; unp"),
    "a page saved by an editor": (
        lambda path: path.write_bytes(b"\xef\xbb\xbf\n<!DOCTYPE html><title>Sign in</title>"),
        "are a web page; download the file itself",
    ),
    "Keras 3": (write_keras, r"are a zip archive of other files \('metadata.json', …\); unpack it"),
    "no dict": (lambda path: save_pickle(path, [ARRAYS]), "hold no state dict but a list; save a"),
    "a module": (lambda path: save_pickle(path, {"a": torch.nn.ReLU()}), "hold the pickled module"),
}


@pytest.mark.parametrize("name", ["a.h5", "a.ckpt", "a.pth", "a.caffemodel"])
@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_called_what_they_are(tmp_path, kind, name):
    write, message = OTHERS[kind]
    write(tmp_path / name)
    with pytest.raises(UserError, match=message) as caught:
        read_tensors(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)
    assert "fetch them again" not in str(caught.value)
