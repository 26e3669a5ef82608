import struct

import pytest
import torch

from seedbed.formats.weights.caffe import read_caffe
from seedbed.formats.weights.protobuf import Wire, WireError, fields, fixed, packed_varints, varint
from seedbed.runtime.errors import UserError
from tests.support.caffe_writer import (
    DATA,
    DOUBLES,
    LAYERS,
    SHAPE,
    V1_INNER_PRODUCT,
    layer,
    legacy,
    net,
    packed_floats,
    shape,
    unpacked_floats,
    v1_layer,
)
from tests.support.protobuf_writer import field, key, write_varint
from tests.support.weights_damage import assert_refused, assert_refused_cheaply, assert_survives

torch.set_num_threads(1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.caffemodel"


@pytest.fixture
def read(path):
    def read(*layers):
        path.write_bytes(net(*layers))
        return read_caffe(path)

    return read


# The wire format.


def test_fields_are_cut_as_the_format_says():
    # The first field is the example of the format's documentation: 150 under number 1.
    data = b"\x08\x96\x01\x12\x03abc\x1d\x00\x00\x80\x3f\x21\1\2\3\4\5\6\7\x08"
    found = [
        (number, wire, value if wire == Wire.VARINT else bytes(value))
        for number, wire, value in fields(memoryview(data))
    ]
    assert found == [
        (1, 0, 150),
        (2, 2, b"abc"),
        (3, 5, b"\x00\x00\x80\x3f"),
        (4, 1, b"\1\2\3\4\5\6\7\x08"),
    ]


def test_large_field_is_a_view_of_the_file():
    data = bytearray(field(1, b"abc"))
    (_, _, value), *_ = fields(memoryview(data))
    data[-1] = ord("d")
    assert bytes(value) == b"abd"


@pytest.mark.parametrize(
    "data",
    [
        b"\x0b",  # begin of a group
        b"\x0c",  # end of one
        b"\x0e",  # wire type 6
        b"\x00\x01",  # field 0
        b"\x08",  # no value
        b"\x08\x96",  # half a varint
        b"\x12\x04abc",  # shorter than it says
        b"\x1d\x00\x00\x80",
        b"\x21\1\2\3\4\5\6\7",
        b"\x08" + b"\xff" * 10 + b"\x01",  # a varint of eleven bytes
    ],
)
def test_broken_messages_are_errors(data):
    with pytest.raises(WireError):
        list(fields(memoryview(data)))


def test_varints():
    assert varint(memoryview(b"\x05\x80\x01"), 1) == (128, 3)
    assert varint(memoryview(write_varint(-2)), 0) == (2**64 - 2, 10)
    assert varint(memoryview(b"\xff" * 9 + b"\x7f"), 0) == (2**64 - 1, 10)
    assert packed_varints(memoryview(b"\x01\x80\x01\x03")) == [1, 128, 3]


def test_fixed_numbers_join_their_pieces():
    pieces = [memoryview(struct.pack("<2f", 1, 2)), memoryview(struct.pack("<f", 3))]
    assert fixed(pieces, "<f4").tolist() == [1, 2, 3]
    assert fixed([], "<f4").tolist() == []
    with pytest.raises(WireError):
        fixed([memoryview(b"12345")], "<f4")


# Caffe's messages.


def test_a_model_written_by_hand(path):
    # layer { name: "a" blobs { shape { dim: 2 } data: 1 data: -2 } }, byte by byte
    blob = b"\x3a\x03\x0a\x01\x02\x2a\x08\x00\x00\x80\x3f\x00\x00\x00\xc0"
    content = b"\x0a\x01a\x3a\x0f" + blob
    path.write_bytes(b"\xa2\x06" + bytes([len(content)]) + content)
    tensors = read_caffe(path)
    assert list(tensors) == ["a.weight"] and tensors["a.weight"].tolist() == [1, -2]


@pytest.mark.parametrize("write", [layer, v1_layer])
@pytest.mark.parametrize("numbers", [packed_floats, unpacked_floats])
@pytest.mark.parametrize("dims", [shape, legacy])
def test_convolution(read, write, numbers, dims):
    weight = dims(2, 3, 1, 2) + numbers(range(12))
    bias = (shape(2) if dims is shape else legacy(1, 1, 1, 2)) + numbers([0.5, -1])
    tensors = read(write("conv", weight, bias))
    assert list(tensors) == ["conv.weight", "conv.bias"]
    assert torch.equal(tensors["conv.weight"], torch.arange(12.0).reshape(2, 3, 1, 2))
    assert torch.equal(tensors["conv.bias"], torch.tensor([0.5, -1]))
    assert tensors["conv.weight"].dtype == torch.float32


def test_names_tell_layers_apart_and_number_further_blobs(read):
    blob = shape(1) + packed_floats([1])
    tensors = read(layer("relu"), layer("bn/a", *[blob] * 4), layer("fc8-SEC_1", blob))
    assert list(tensors) == ["bn/a.weight", "bn/a.bias", "bn/a.2", "bn/a.3", "fc8-SEC_1.weight"]


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("write, kind", [(v1_layer, V1_INNER_PRODUCT), (layer, "InnerProduct")])
def test_old_inner_products_are_matrices(read, write, kind, outputs):
    weight = legacy(1, 1, outputs, 3) + packed_floats(range(3 * outputs))
    bias = legacy(1, 1, 1, outputs) + packed_floats(range(outputs))
    tensors = read(write("fc", weight, bias, kind=kind))
    assert torch.equal(tensors["fc.weight"], torch.arange(3.0 * outputs).reshape(outputs, 3))
    assert tensors["fc.bias"].shape == (outputs,)


def test_old_convolution_with_one_channel_stays_a_convolution(read):
    tensors = read(v1_layer("conv", legacy(1, 1, 3, 3) + packed_floats(range(9))))
    assert tensors["conv.weight"].shape == (1, 1, 3, 3)


def test_only_ones_are_dropped(read):
    weight = legacy(2, 1, 1, 3) + packed_floats(range(6))
    bias = legacy(1, 2, 1, 1) + packed_floats(range(2))
    tensors = read(v1_layer("fc", weight, bias, kind=V1_INNER_PRODUCT))
    assert tensors["fc.weight"].shape == (2, 1, 1, 3) and tensors["fc.bias"].shape == (1, 2, 1, 1)


def test_written_shape_is_kept_and_outranks_the_old_one(read):
    tensors = read(layer("fc", legacy(1, 1, 1, 2) + shape(1, 1, 2) + packed_floats([1, 2])))
    assert tensors["fc.weight"].shape == (1, 1, 2)


def test_shape_may_be_unpacked_and_numbers_doubles(read):
    dims = field(SHAPE, field(1, 2) + field(1, 1))
    tensors = read(layer("a", dims + packed_floats([0.1, 3], DOUBLES, "<f8")))
    assert torch.equal(tensors["a.weight"], torch.tensor([[0.1], [3]]))


def test_gradients_are_left_alone(read):
    tensors = read(layer("a", shape(1) + packed_floats([1]) + packed_floats([9], number=6)))
    assert tensors["a.weight"].tolist() == [1]


def test_both_generations_may_stand_in_one_file(read):
    blob = shape(1) + packed_floats([1])
    assert list(read(v1_layer("old", blob), layer("new", blob))) == ["old.weight", "new.weight"]


def test_two_layers_of_one_name(path):
    blob = shape(1) + packed_floats([1])
    data = net(v1_layer("a", blob), layer("b", blob), layer("a", blob))
    assert_refused(read_caffe, path, data, "two tensors are called a.weight")


def test_tensors_outlive_the_file_and_may_be_written(read, path):
    tensors = read(layer("a", shape(2) + packed_floats([1, 2])))
    path.write_bytes(b"")
    tensors["a.weight"] += 1
    assert tensors["a.weight"].tolist() == [2, 3]


# Files that are none.


def test_missing_file(path):
    with pytest.raises(UserError, match=r"net\.caffemodel do not exist; check the name"):
        read_caffe(path)


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "damaged.*fetch them again"),
        (b"PK\x03\x04 an archive", "damaged, cut short or no Caffe model"),
        (b'name: "net" layer { name: "conv1" }', "no Caffe model"),
        (net(layer("relu")), "hold no tensors"),
        (net(layer("a", shape(3) + packed_floats([1, 2]))), r"2 numbers for the shape \(3,\)"),
        (net(layer("a", shape(1) + field(DATA, b"123"))), "no whole number"),
    ],
)
def test_foreign_and_wrong_files(path, data, message):
    assert_refused(read_caffe, path, data, message)


def test_name_that_is_no_text(path):
    content = field(1, b"\xff") + field(7, shape(1) + packed_floats([1]))
    assert_refused(read_caffe, path, net(field(LAYERS, content)), "no Caffe model")


def test_directory(tmp_path):
    with pytest.raises(UserError, match="no Caffe model"):
        read_caffe(tmp_path)


@pytest.mark.parametrize(
    "blob",
    [
        shape(1 << 30) + packed_floats([1]),
        shape(1 << 20, 1 << 20) + packed_floats([1]),
        shape(-1, -1) + packed_floats([1]),
        shape(0, 1 << 62) + packed_floats([]),
        shape(0, -1) + packed_floats([]),
        legacy(1 << 31, 1, 1, 1) + packed_floats([1]),
        shape(*[1] * 33) + packed_floats([1]),
        shape(4) + key(DATA, 2) + write_varint(1 << 33),
        shape(4) + key(DATA, 2) + write_varint(1 << 63),
    ],
)
def test_absurd_claims_cost_nothing(path, blob):
    assert_refused_cheaply(read_caffe, path, net(layer("a", blob)))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_no_damage_gets_past_the_reader(path):
    weight, bias = shape(2, 1, 1, 2) + packed_floats(range(4)), shape(2) + unpacked_floats([1, 2])
    old = legacy(1, 1, 2, 2) + packed_floats(range(4), DOUBLES, "<f8")
    data = net(layer("conv", weight, bias), v1_layer("fc", old, kind=V1_INNER_PRODUCT))
    assert_survives(read_caffe, path, data)
