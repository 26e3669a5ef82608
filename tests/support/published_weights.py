"""For tests: checkpoints as published, with a network's own numbers."""

import numpy as np
import torch
from safetensors.torch import save_file

from tests.support import caffe_writer, mxnet_writer, tensorflow_writer
from tests.support.protobuf_writer import field
from tests.support.published_names import published


def write_checkpoint(path, layout, model, *, module=False):
    """Write what `model` holds as `layout` (a key of `published_names.LAYERS`) publishes it.

    The format is that of the suffix: .caffemodel, .params, .npy, .safetensors, .ckpt (TensorFlow's
    version 1), .index (version 2, with its data file) or else PyTorch's. `module`: as saved from
    a DataParallel.
    """
    prefix = "module." if module else ""
    tensors = {prefix + name: values for name, values in published(layout, model).items()}
    if path.suffix in WRITERS:
        WRITERS[path.suffix](path, {name: value.numpy() for name, value in tensors.items()}, layout)
    elif path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in tensors.items()}, path)
    else:
        wrapped = {"epoch": 14, "state_dict": tensors, "optimizer": {"state": {}}}
        torch.save(wrapped if layout == "group_wsss" else tensors, path)


def _write_caffemodel(path, arrays, layout):
    """DeepLab's file is of 2014, with the old messages."""
    old = layout == "vgg16_20M"
    layers = {}
    for name, array in arrays.items():
        layers.setdefault(name.rpartition(".")[0], []).append(_blob(array, old))
    write = caffe_writer.v1_layer if old else caffe_writer.layer
    path.write_bytes(caffe_writer.net(*(write(name, *blobs) for name, blobs in layers.items())))


def _blob(array, old):
    dims = caffe_writer.shape(*array.shape)
    if old:
        dims = caffe_writer.legacy(*(1,) * (4 - array.ndim), *array.shape)
    return dims + caffe_writer.packed_floats(array)


def _write_params(path, arrays, _):
    written = [mxnet_writer.v2_array(array.shape, array.tobytes()) for array in arrays.values()]
    path.write_bytes(mxnet_writer.array_list(written, list(arrays)))


def _write_npy(path, arrays, _):
    layers = {}
    for name, array in arrays.items():
        layer, _, parameter = name.rpartition(".")
        layers.setdefault(layer, {})[parameter] = array
    np.save(path, np.array(layers, dtype=object), allow_pickle=True)


def _write_version_1(path, arrays, _):
    float32, values = tensorflow_writer.FLOAT, tensorflow_writer.FLOAT_VAL
    variables = [
        tensorflow_writer.whole(name, float32, array.shape, field(values, array.tobytes()))
        for name, array in arrays.items()
    ]
    path.write_bytes(tensorflow_writer.v1(*variables, per_block=1))


def _write_version_2(path, arrays, _):
    entries, data = [tensorflow_writer.header(1)], bytearray()
    for name, array in arrays.items():
        own = array.tobytes()
        entry = tensorflow_writer.bundle_entry(
            tensorflow_writer.FLOAT, array.shape, own, offset=len(data)
        )
        entries.append((name.encode(), entry))
        data += own
    path.write_bytes(tensorflow_writer.table(entries))
    path.with_suffix(".data-00000-of-00001").write_bytes(data)


WRITERS = {
    ".caffemodel": _write_caffemodel,
    ".params": _write_params,
    ".npy": _write_npy,
    ".ckpt": _write_version_1,
    ".index": _write_version_2,
}
