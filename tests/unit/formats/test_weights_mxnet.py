import numpy as np
import pytest
import torch

from seedbed.formats.weights.mxnet import read_mxnet
from seedbed.runtime.errors import UserError
from tests.support.mxnet_writer import (
    V1,
    V2,
    array_list,
    floats,
    legacy_array,
    u32,
    u64,
    v1_array,
    v2_array,
)
from tests.support.weights_damage import assert_refused, assert_refused_cheaply, assert_survives

torch.set_num_threads(1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.params"


@pytest.fixture
def read(path):
    def read(**arrays):
        path.write_bytes(array_list(list(arrays.values()), list(arrays)))
        return read_mxnet(path)

    return read


def test_a_file_written_by_hand(path):
    path.write_bytes(
        bytes.fromhex(
            "1201000000000000 0000000000000000"  # a list, reserved
            "0100000000000000"  # of one array:
            "c9fa93f9 00000000"  # second generation, dense,
            "02000000 0100000000000000 0200000000000000"  # of shape 1 × 2,
            "01000000 00000000 00000000"  # on the CPU 0, float32,
            "0000803f 000000c0"  # 1 and -2
            "0100000000000000"  # and of one name of 5 letters
            "0500000000000000"
        )
        + b"arg:a"
    )
    tensors = read_mxnet(path)
    assert list(tensors) == ["arg:a"] and tensors["arg:a"].tolist() == [[1, -2]]


@pytest.mark.parametrize("write", [legacy_array, v1_array, v2_array])
def test_each_generation(read, write):
    tensors = read(a=write((2, 3, 1), floats(*range(6))), b=write((1,), floats(-1)))
    assert torch.equal(tensors["a"], torch.arange(6.0).reshape(2, 3, 1))
    assert tensors["b"].tolist() == [-1] and tensors["b"].dtype == torch.float32


def test_generations_may_stand_in_one_file_and_names_are_kept(path):
    names = ["arg:bn2a_branch2a_gamma", "aux:bn2a_branch2a_moving_var", "arg:é"]
    arrays = [write((1,), floats(3)) for write in (legacy_array, v1_array, v2_array)]
    path.write_bytes(array_list(arrays, names))
    assert list(read_mxnet(path)) == names


DTYPES = ["float32", "float64", "float16", "uint8", "int32", "int8", "int64"]


@pytest.mark.parametrize("flag, dtype", list(enumerate(DTYPES)))
def test_types_are_widened_to_float32(read, flag, dtype):
    values = np.array([1, 100], np.dtype(dtype).newbyteorder("<"))
    tensors = read(a=v2_array((2,), values.tobytes(), flag))
    assert tensors["a"].dtype == torch.float32 and tensors["a"].tolist() == [1, 100]


def test_signs_and_fractions_of_types(read):
    tensors = read(
        half=v1_array((1,), np.array([0.5], "<f2").tobytes(), 2),
        byte=v1_array((1,), b"\xff", 3),
        signed=v1_array((1,), b"\xff", 5),
    )
    assert [value.item() for value in tensors.values()] == [0.5, 255, -1]


@pytest.mark.parametrize("nothing", [u32(0), u32(V1, 0), u32(V2, 0, 0)])
def test_arrays_without_shape_hold_nothing(read, nothing):
    tensors = read(empty=nothing, a=v2_array((1,), floats(7)))
    assert list(tensors) == ["a"] and tensors["a"].tolist() == [7]


def test_tensors_outlive_the_file_and_may_be_written(read, path):
    tensors = read(a=v2_array((2,), floats(1, 2)))
    path.write_bytes(b"")
    tensors["a"] += 1
    assert tensors["a"].tolist() == [2, 3]


# Files that are none.


def test_missing_file(path):
    with pytest.raises(UserError, match=r"net\.params do not exist; check the name"):
        read_mxnet(path)


ONE = v2_array((1,), floats(1))


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "damaged.*fetch them again"),
        (array_list([ONE], ["a"], magic=0x113), "begins with 0x113, not 0x112"),
        (array_list([ONE], []), "1 arrays, but 0 names"),
        (array_list([ONE], ["a", "b"]), "1 arrays, but 2 names"),
        (array_list([ONE, ONE], ["arg:a", "arg:a"]), "two tensors are called arg:a"),
        (array_list([], []), "hold no tensors"),
        (array_list([v2_array((1,), floats(1), storage=1)], ["a"]), "sparse arrays: .*tostype"),
        (array_list([v2_array((1,), floats(1), storage=2)], ["a"]), "sparse arrays: .*tostype"),
        (array_list([v2_array((1,), floats(1), flag=7)], ["a"]), "unknown type 7"),
        (array_list([v2_array((2,), floats(1))], ["a"]), "cut short"),
        (array_list([u32(V2 + 1, 0, 1)], ["a"]), "dimensions"),
    ],
)
def test_foreign_and_wrong_files(path, data, message):
    assert_refused(read_mxnet, path, data, message)


def test_name_that_is_no_text(path):
    data = array_list([ONE], ["a"])
    assert_refused(read_mxnet, path, data[:-1] + b"\xff", "no MXNet parameter file")


@pytest.mark.parametrize(
    "data",
    [
        array_list([v2_array((1 << 40,), floats(1))], ["a"]),
        array_list([v2_array((1 << 63, 1 << 63), floats(1))], ["a"]),
        array_list([v2_array((0, 1 << 63), b"")], ["a"]),
        array_list([v2_array((0, 1 << 62), b"")], ["a"]),
        array_list([legacy_array((1 << 31, 1 << 31), floats(1))], ["a"]),
        array_list([u32(1 << 31)], ["a"]),
        array_list([v2_array([1] * 33, floats(1))], ["a"]),
        u64(0x112, 0, 1 << 60) + ONE,
        u64(0x112, 0, 1) + ONE + u64(1 << 60),
        u64(0x112, 0, 1) + ONE + u64(1, 1 << 60) + b"a",
    ],
)
def test_absurd_claims_cost_nothing(path, data):
    assert_refused_cheaply(read_mxnet, path, data)


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
def test_no_damage_gets_past_the_reader(path):
    arrays = [
        legacy_array((2, 1), floats(1, 2)),
        v1_array((2,), np.ones(2).tobytes(), 1),
        v2_array((1, 1, 2), floats(1, 2)),
    ]
    assert_survives(read_mxnet, path, array_list(arrays, ["arg:a", "arg:b", "aux:c"]))
