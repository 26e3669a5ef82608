"""For tests: Caffe's messages, from caffe.proto."""

import struct

import numpy as np

from tests.support.protobuf_writer import field, key, write_varint

V1_LAYERS, LAYERS = 2, 100
SHAPE, DATA, DOUBLES = 7, 5, 8
V1_INNER_PRODUCT = 14


def packed_floats(values, number=DATA, dtype="<f4"):
    return field(number, np.asarray(values, dtype).tobytes())


def unpacked_floats(values, number=DATA):
    return b"".join(key(number, 5) + struct.pack("<f", value) for value in values)


def shape(*dims):
    return field(SHAPE, field(1, b"".join(map(write_varint, dims))))


def legacy(*dims):
    return b"".join(field(place, dim) for place, dim in enumerate(dims, 1))


def layer(name, *blobs, kind="Convolution"):
    content = field(1, name.encode()) + field(2, kind.encode())
    content += field(3, b"data") + field(4, name.encode()) + field(10, 1)
    return field(LAYERS, b"".join([content, *(field(7, blob) for blob in blobs)]))


def v1_layer(name, *blobs, kind=4):
    content = field(2, b"data") + field(3, name.encode())
    content += field(4, name.encode()) + field(5, kind)
    rates = packed_floats([1, 2], number=7)
    return field(V1_LAYERS, b"".join([content, *(field(6, blob) for blob in blobs), rates]))


def net(*layers):
    inputs = field(3, b"data") + field(4, 1) + field(5, 0)
    return b"".join([field(1, b"net"), inputs, *layers])
