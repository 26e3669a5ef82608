"""Reads Caffe's .caffemodel, a NetParameter message, without Caffe (fields: caffe.proto)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from seedbed.formats.weights.protobuf import Wire, fields, fixed, packed_varints
from seedbed.formats.weights.reading import by_name, reader, tensor, view

WEIGHT, BIAS = 0, 1
BLOB_NAMES = {WEIGHT: "weight", BIAS: "bias"}


@dataclass(frozen=True)
class LayerFormat:
    """Field numbers of a layer message, and the value of its type for inner products."""

    name: int
    type: int
    blobs: int
    inner_product: int | bytes


# By the field of NetParameter that holds the layers: V1LayerParameter (its type is an enumeration)
# and, since 2014, LayerParameter (its type is text).
FORMATS = {
    2: LayerFormat(name=4, type=5, blobs=6, inner_product=14),
    100: LayerFormat(name=1, type=2, blobs=7, inner_product=b"InnerProduct"),
}


@dataclass
class Layer:
    """A layer's name, kind and parameter blobs."""

    name: str = ""
    is_inner_product: bool = False
    blobs: list[memoryview] = field(default_factory=list)


@reader("Caffe model")
def read_caffe(path: Path) -> dict[str, Tensor]:
    """Read the blobs of all layers of a .caffemodel.

    Both generations of layer messages are read, and blobs that have four dimensions as all had
    before 2015.

    Returns:
        float32 tensors by name: "{layer}.weight", "{layer}.bias", "{layer}.2" and so on, in the
        order of the layer's blobs; a batch norm's are mean, variance and their common divisor.
        Convolutions are (out, in, height, width), inner products (out, in), biases (out).

    Raises:
        UserError: if the file is missing, damaged or without weights.

    """
    return by_name(
        (f"{layer.name}.{BLOB_NAMES.get(place, place)}", _read_blob(blob, place, layer))
        for layer in _layers(view(path))
        for place, blob in enumerate(layer.blobs)
    )


def _layers(net: memoryview) -> Iterator[Layer]:
    for number, wire, value in fields(net):
        if number in FORMATS and wire == Wire.BYTES:
            yield _read_layer(value, FORMATS[number])


def _read_layer(message: memoryview, numbers: LayerFormat) -> Layer:
    layer = Layer()
    for number, wire, value in fields(message):
        if number == numbers.type:
            layer.is_inner_product = value == numbers.inner_product
        elif wire != Wire.BYTES:
            continue
        elif number == numbers.name:
            layer.name = bytes(value).decode()
        elif number == numbers.blobs:
            layer.blobs.append(value)
    return layer


def _read_blob(message: memoryview, place: int, layer: Layer) -> Tensor:
    """Read a BlobProto; `place` is its rank among the layer's blobs."""
    legacy = {1: 0, 2: 0, 3: 0, 4: 0}  # num, channels, height, width
    shape, floats, doubles = None, [], []
    for number, wire, value in fields(message):
        match number, wire:
            case ((1 | 2 | 3 | 4), Wire.VARINT):
                legacy[number] = value
            case 5, (Wire.BYTES | Wire.FIXED32):
                floats.append(value)
            case 7, Wire.BYTES:
                shape = _read_shape(value)
            case 8, (Wire.BYTES | Wire.FIXED64):
                doubles.append(value)
    if shape is None:
        shape = _without_padding(tuple(legacy.values()), place, layer)
    numbers = fixed(doubles, "<f8") if doubles else fixed(floats, "<f4")
    return tensor(numbers, shape)


def _read_shape(message: memoryview) -> list[int]:
    dims = []
    for number, wire, value in fields(message):
        match number, wire:
            case 1, Wire.VARINT:
                dims.append(value)
            case 1, Wire.BYTES:
                dims += packed_varints(value)
    return dims


def _without_padding(shape: tuple[int, ...], place: int, layer: Layer) -> tuple[int, ...]:
    """Drop the leading ones of a bias (1, 1, 1, out) or a matrix (1, 1, out, in)."""
    weight_axes = 2 if layer.is_inner_product else 4
    axes = weight_axes if place == WEIGHT else 1
    return shape[-axes:] if all(size == 1 for size in shape[:-axes]) else shape
