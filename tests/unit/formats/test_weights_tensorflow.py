import random
import struct
from pathlib import Path

import pytest
import torch

from seedbed.formats.weights.sstable import masked_crc32c, read_table, unsnappy
from seedbed.formats.weights.tensorflow import read_tensorflow
from seedbed.runtime.errors import UserError
from tests.support.protobuf_writer import field, packed
from tests.support.tensorflow_writer import (
    BOOL,
    BOOL_VAL,
    CONTENT,
    DOUBLE,
    DOUBLE_VAL,
    FLOAT,
    FLOAT_VAL,
    HALF,
    HALF_VAL,
    INT32,
    INT64,
    INT64_VAL,
    INT_VAL,
    PLAIN,
    SNAPPY,
    STRING,
    bundle_entry,
    floats,
    header,
    table,
    v1,
    whole,
)
from tests.support.weights_damage import assert_line, assert_refused, assert_refused_cheaply

torch.set_num_threads(1)

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tensorflow"
KERNEL = whole("conv/weights", FLOAT, (2, 3), field(FLOAT_VAL, floats(*range(6))))
BIASES = whole("conv/biases", FLOAT, (2,), field(FLOAT_VAL, floats(0.5, -0.5)))
ROWS = [[0.0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
UPPER = ([(0, 2), (1, 3)], field(FLOAT_VAL, floats(1, 2, 3, 5, 6, 7)))
LEFT = ([None, (0, 1)], field(FLOAT_VAL, floats(0, 4, 8)))
LOWER = ([(2, 1), (1, 3)], field(FLOAT_VAL, floats(9, 10, 11)))
PARTITIONED = ("parts", FLOAT, (3, 4), [UPPER, LEFT, LOWER])


@pytest.fixture
def v1_file(tmp_path):
    def write(*variables, **options):
        path = tmp_path / "model.ckpt-18000"
        path.write_bytes(v1(*variables, **options))
        return path

    return write


@pytest.fixture
def v2_files(tmp_path):
    def write(entries, *shards, **options):
        (tmp_path / "model.index").write_bytes(table(entries, **options))
        for place, data in enumerate(shards):
            name = f"model.data-{place:05}-of-{len(shards):05}"
            (tmp_path / name).write_bytes(data)
        return tmp_path / "model.index"

    return write


# What TensorFlow wrote: fixtures/tensorflow/make.py.


def arange(shape, dtype, start, step):
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=torch.float64) * step + start).reshape(shape).to(dtype)


BY_TENSORFLOW = {
    "conv1/weights": arange((3, 3, 2, 4), torch.float32, -4.5, 0.125),
    "conv1/weights/Momentum": arange((3, 3, 2, 4), torch.float32, 0, 0),
    "conv1/biases": arange((4,), torch.float32, 1, 0.125),
    "bn_conv1/gamma": arange((4,), torch.float32, 0, 0.125),
    "bn_conv1/moving_mean": arange((4,), torch.float32, 2, 0.125),
    "global_step": arange((), torch.int64, 18000, 1),
    "types/double": arange((2, 3), torch.float32, 0.5, 0.125),
    "types/half": arange((5,), torch.float32, -0.25, 0.125),
    "types/int32": arange((3,), torch.int32, -1, 1),
    "types/uint8": arange((2, 2), torch.uint8, 250, 1),
    "types/int16": arange((2,), torch.int16, -300, 1),
    "types/bool": arange((3,), torch.bool, 0, 1),
    "partitioned": arange((150, 3), torch.float32, 0.5, 0.125),
}
ONLY_V2 = {
    "types/bfloat16": arange((6,), torch.float32, -1, 0.125),
    "empty": torch.zeros(0, 3),
}


def assert_same(tensors, expected):
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert tensors[name].dtype == value.dtype, name
        assert torch.equal(tensors[name], value), name
        assert tensors[name].is_contiguous()


def test_version_1_by_tensorflow():
    assert_same(read_tensorflow(FIXTURES / "v1.ckpt"), BY_TENSORFLOW)


@pytest.mark.parametrize("suffix", ["", ".index", ".data-00000-of-00001"])
def test_version_2_by_tensorflow_under_any_of_its_names(suffix):
    assert_same(read_tensorflow(FIXTURES / f"v2.ckpt{suffix}"), BY_TENSORFLOW | ONLY_V2)


def test_tensors_outlive_the_file(v1_file):
    path = v1_file(KERNEL)
    kernel = read_tensorflow(path)["conv/weights"]
    path.unlink()
    kernel += 1
    assert kernel.sum() == 21


# Version 1, byte by byte.


@pytest.mark.parametrize("compression", [PLAIN, SNAPPY])
@pytest.mark.parametrize("per_block", [1, 2, 100])
def test_blocks_of_any_size_and_compression(v1_file, compression, per_block):
    path = v1_file(KERNEL, BIASES, PARTITIONED, per_block=per_block, compression=compression)
    expected = {
        "conv/weights": torch.arange(6.0).reshape(2, 3),
        "conv/biases": torch.tensor([0.5, -0.5]),
        "parts": torch.tensor(ROWS),
    }
    assert_same(read_tensorflow(path), expected)


@pytest.mark.parametrize(
    ("dtype", "proto", "expected"),
    [
        (DOUBLE, field(DOUBLE_VAL, struct.pack("<2d", 0.1, -2)), torch.tensor([0.1, -2])),
        (INT32, field(INT_VAL, packed(7, -7)), torch.tensor([7, -7], dtype=torch.int32)),
        (INT64, field(INT64_VAL, packed(1 << 40, -1)), torch.tensor([1 << 40, -1])),
        (BOOL, field(BOOL_VAL, packed(0, 1)), torch.tensor([False, True])),
        (HALF, field(HALF_VAL, packed(0x3C00, 0xC100)), torch.tensor([1, -2.5])),
        (HALF, field(CONTENT, bytes.fromhex("003c00c1")), torch.tensor([1, -2.5])),
        (FLOAT, field(CONTENT, floats(3, 4)), torch.tensor([3.0, 4])),
    ],
)
def test_numbers_of_any_type(v1_file, dtype, proto, expected):
    assert_same(read_tensorflow(v1_file(whole("x", dtype, (2,), proto))), {"x": expected})


def test_strings_are_left_out(v1_file):
    path = v1_file(BIASES, whole("label", STRING, (1,), field(8, b"cat")))
    assert read_tensorflow(path).keys() == {"conv/biases"}


@pytest.mark.parametrize(
    ("slices", "words"),
    [
        ([UPPER, LEFT], "another count"),
        ([UPPER, UPPER, LEFT, LOWER], "another count"),
        ([UPPER, LEFT, LEFT], "overlap"),
        ([UPPER, LEFT, ([(2, 1), (2, 3)], LOWER[1])], "beyond"),
        ([UPPER, LEFT, ([(2, 1), (1, 2)], LOWER[1])], "reshape"),
        ([UPPER, LEFT, ([(2, 1)], LOWER[1])], "dimensions"),
    ],
)
def test_slices_that_do_not_tile_the_variable(tmp_path, slices, words):
    path = tmp_path / "model.ckpt"
    assert_refused(read_tensorflow, path, v1(("parts", FLOAT, (3, 4), slices)), words)


# Version 2, byte by byte.


def test_shards_scalars_and_empty_tensors(v2_files):
    first, second = floats(1, 2, 3), b"\xff" * 5 + floats(4)
    index = v2_files(
        [
            header(2),
            (b"a", bundle_entry(FLOAT, (3, 1), first)),
            (b"a/scalar", bundle_entry(FLOAT, (), floats(4), offset=5, shard=1)),
            (b"empty", bundle_entry(FLOAT, (2, 0, 3), offset=12)),
            (b"label", bundle_entry(STRING, (1,), b"\3cat")),
        ],
        first,
        second,
    )
    expected = {
        "a": torch.tensor([[1.0], [2], [3]]),
        "a/scalar": torch.tensor(4.0),
        "empty": torch.zeros(2, 0, 3),
    }
    assert_same(read_tensorflow(index), expected)
    assert_same(read_tensorflow(index.with_name("model.data-00001-of-00002")), expected)
    assert_same(read_tensorflow(str(index.with_name("model"))), expected)


# The keys of slices: 0, name, end, rank, and each extent's start and length, which are written
# in 7 bits a byte, positive numbers from 0x80 on and −1 (all of it) as 0x7f.
FAR = bytes.fromhex("0101") + b"\x80\xc0\x46"  # rank 1, start 0, length 70
REST = bytes.fromhex("0101") + b"\xc0\x46\xe0\x40\x00"  # rank 1, start 70, length 16 384
COLUMN = bytes.fromhex("0102") + b"\x80\x7f\x80\x81"  # rank 2, all rows, column 0
OTHER = bytes.fromhex("0102") + b"\x80\x7f\x81\x81"  # rank 2, all rows, column 1


def test_partitioned_variables(v2_files):
    numbers = torch.arange(70.0 + 16384)
    data = numbers.numpy().tobytes() + floats(1, 3) + floats(2, 4)
    columns = ([None, (0, 1)], [None, (1, 1)])
    entries = [
        header(1),
        (b"long", bundle_entry(FLOAT, (70 + 16384,), slices=[[(0, 70)], [(70, 16384)]])),
        (b"two", bundle_entry(FLOAT, (2, 2), slices=columns)),
        (b"\0long\0\1" + FAR, bundle_entry(FLOAT, (70,), data[:280])),
        (b"\0long\0\1" + REST, bundle_entry(FLOAT, (16384,), data[280:-16], offset=280)),
        (b"\0two\0\1" + COLUMN, bundle_entry(FLOAT, (2, 1), data[-16:-8], offset=len(data) - 16)),
        (b"\0two\0\1" + OTHER, bundle_entry(FLOAT, (2, 1), data[-8:], offset=len(data) - 8)),
    ]
    tensors = read_tensorflow(v2_files(entries, data, per_block=3))
    assert_same(tensors, {"long": numbers, "two": torch.tensor([[1.0, 2], [3, 4]])})
    with pytest.raises(UserError, match="slices of two are missing"):
        read_tensorflow(v2_files(entries[:-1], data))


def test_missing_parts_are_named(v2_files):
    entries = [header(2), (b"a", bundle_entry(FLOAT, (), floats(1), shard=1))]
    index = v2_files(entries, b"", floats(1))
    index.with_name("model.data-00001-of-00002").unlink()
    with pytest.raises(UserError, match=r"need model\.data-00001-of-00002"):
        read_tensorflow(index)
    index.unlink()
    with pytest.raises(UserError, match=r"data-00000-of-00002 need model\.index"):
        read_tensorflow(index.with_name("model.data-00000-of-00002"))
    with pytest.raises(UserError, match="do not exist"):
        read_tensorflow(index.with_name("model"))


def test_a_file_is_read_even_beside_an_index_of_its_name(v1_file):
    path = v1_file(BIASES)
    path.with_name(f"{path.name}.index").write_bytes(v1(KERNEL))
    assert read_tensorflow(path).keys() == {"conv/biases"}


def test_two_variables_of_one_name(tmp_path, v2_files):
    words = "two tensors are called"
    assert_refused(read_tensorflow, tmp_path / "model.ckpt", v1(BIASES, KERNEL, BIASES), words)
    twice = [header(1), *[(b"a", bundle_entry(FLOAT, (), floats(1)))] * 2]
    with pytest.raises(UserError, match=words):
        read_tensorflow(v2_files(twice, floats(1)))


def test_big_endian_numbers_are_refused(v2_files):
    with pytest.raises(UserError, match="big-endian"):
        read_tensorflow(v2_files([header(1, 1), (b"a", bundle_entry(FLOAT, (), floats(1)))], b""))


# Damage.


def test_foreign_files_are_refused(tmp_path):
    for foreign in (b"", b"model_checkpoint_path: 'a'", b"\0" * 100):
        assert_refused(read_tensorflow, tmp_path / "checkpoint", foreign, "TensorFlow checkpoint")
    other_table = table([(b"key", b"")])
    assert_refused(read_tensorflow, tmp_path / "a.ckpt", other_table, "no list of variables")
    assert_refused(read_tensorflow, tmp_path / "a.index", other_table, "no header")
    with pytest.raises(UserError, match="TensorFlow checkpoint"):
        read_tensorflow(tmp_path)


def read_damaged(path, data):
    """What is read, or None; an error is one line that names the file."""
    path.write_bytes(data)
    try:
        return read_tensorflow(path)
    except UserError as error:
        assert_line(error, path)
        return None


def assert_nothing_false_is_read(path, data, expected):
    """Cut at any byte a file is refused; with any byte changed it is, or gives the truth."""
    assert_same(read_damaged(path, data), expected)
    for size in range(len(data)):
        assert read_damaged(path, data[:size]) is None, size
    refused = 0
    for place in range(len(data)):
        changed = bytes([data[place] ^ 1 << place % 8])
        tensors = read_damaged(path, data[:place] + changed + data[place + 1 :])
        refused += tensors is None
        if tensors is not None:
            assert_same(tensors, expected)
    # What remains is the footer's padding and the block of filters, which no one reads.
    assert refused >= len(data) - 60
    path.write_bytes(data)


@pytest.mark.parametrize("compression", [PLAIN, SNAPPY])
def test_damaged_version_1(tmp_path, compression):
    data = v1(BIASES, PARTITIONED, compression=compression)
    expected = {"conv/biases": torch.tensor([0.5, -0.5]), "parts": torch.tensor(ROWS)}
    assert_nothing_false_is_read(tmp_path / "model.ckpt", data, expected)


def test_damaged_version_2(v2_files):
    data = floats(1, 2)
    index = v2_files([header(1), (b"a", bundle_entry(FLOAT, (2,), data))], data)
    expected = {"a": torch.tensor([1.0, 2])}
    assert_nothing_false_is_read(index, index.read_bytes(), expected)
    assert_nothing_false_is_read(index.with_name("model.data-00000-of-00001"), data, expected)


@pytest.mark.parametrize("compression", [PLAIN, SNAPPY])
def test_nonsense_under_a_right_checksum(tmp_path, v2_files, compression):
    chance = random.Random(0)

    def damage(block):
        block = bytearray(block)
        for place in chance.choices(range(len(block)), k=chance.randint(0, 2)):
            block[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        return bytes(block)

    options = {"compression": compression, "damage": damage}
    kernel = whole("x", HALF, (2,), field(HALF_VAL, packed(0x3C00, 0xC100)))
    slices = [[(0, 1)], [(1, 1)]]
    entries = [
        header(1),
        (b"a", bundle_entry(FLOAT, (2,), slices=slices)),
        (b"b", bundle_entry(FLOAT, (1,), floats(1))),
        (b"\0a\0\1\1\1\x80\x81", bundle_entry(FLOAT, (1,), floats(1))),
        (b"\0a\0\1\1\1\x81\x81", bundle_entry(FLOAT, (1,), floats(2), offset=4)),
    ]
    index = v2_files(entries, floats(1, 2))
    assert read_tensorflow(index)["a"].tolist() == [1, 2]
    read = 0
    for _ in range(300):
        read += read_damaged(tmp_path / "v1.ckpt", v1(kernel, PARTITIONED, **options)) is not None
        read += read_damaged(index, table(entries, **options)) is not None
    assert 50 < read < 500


def test_claims_of_gigabytes_cost_nothing(tmp_path, v2_files):
    path = tmp_path / "model.ckpt"
    one = field(FLOAT_VAL, floats(1))
    for shape in ([1 << 31], [1 << 62, 4], [(1 << 64) - 1], [1] * 70):
        assert_refused_cheaply(read_tensorflow, path, v1(whole("x", FLOAT, shape, one)))
    with pytest.raises(UserError, match="40 dimensions"):
        path.write_bytes(v1(whole("x", FLOAT, [1] * 40, one)))
        read_tensorflow(path)
    for shape in ([0, 1 << 62], [0, (1 << 64) - 1], [0] * 70):
        assert_refused_cheaply(read_tensorflow, path, v1(whole("x", FLOAT, shape, b"")))

    def claim(block):
        return packed((1 << 32) - 1) + block[2:]

    def burst(block):
        return packed(1) + b"\x00a" + b"\xfe\x01\x00" * 30_000

    for damage in (claim, burst):
        data = v1(BIASES, compression=SNAPPY, damage=damage)
        assert_refused_cheaply(read_tensorflow, path, data)
    index = v2_files([header(1)], floats(1))
    for change in ({"offset": 1 << 40}, {"offset": 1}, {"shard": 1 << 30}):
        entries = [header(1), (b"a", bundle_entry(FLOAT, (1,), floats(1), **change))]
        assert_refused_cheaply(read_tensorflow, index, table(entries))
    huge = bundle_entry(FLOAT, (1 << 40,)).replace(field(5, 0), field(5, 1 << 42))
    assert_refused_cheaply(read_tensorflow, index, table([header(1), (b"a", huge)]))


# The table's own parts.


def test_keys_come_whole_and_in_order():
    entries = [(b"", b"meta"), (b"conv1", b"1"), (b"conv1/bias", b""), (b"conv2", b"x" * 300)]
    for per_block in (1, 3, 9):
        read = list(read_table(memoryview(table(entries, per_block))))
        assert [(key, bytes(value)) for key, value in read] == entries


ONE_RESTART = struct.pack("<2I", 0, 1)


@pytest.mark.parametrize(
    ("block", "compression", "words"),
    [
        (packed(0, 1, 2) + b"kv" + ONE_RESTART, PLAIN, "ends"),
        (packed(0, 9, 0) + b"kv" + ONE_RESTART, PLAIN, "ends"),
        (packed(1, 1, 1) + b"kv" + ONE_RESTART, PLAIN, "shared"),
        (packed(0, 1, 1) + b"kv" + struct.pack("<I", 99), PLAIN, "restart"),
        (packed(0, 1, 1) + b"kv" + ONE_RESTART, 2, "compression"),
    ],
)
def test_malformed_blocks(block, compression, words):
    data = table([(b"k", b"v")], compression=compression, damage=lambda _: block)
    with pytest.raises(ValueError, match=words):
        list(read_table(memoryview(data)))


def crc(data):
    """CRC32C bit by bit, masked."""
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    value ^= 0xFFFFFFFF
    return ((value >> 15 | value << 17) + 0xA282EAD8) % (1 << 32)


def test_checksum(monkeypatch):
    # RFC 3720, B.4, and the common check value; then rotated and shifted.
    for data, expected in ((bytes(32), 0x8A9136AA), (b"123456789", 0xE3069283)):
        rotated = expected >> 15 | (expected & 0x7FFF) << 17
        assert masked_crc32c(memoryview(data)) == (rotated + 0xA282EAD8) % (1 << 32)
    data = bytes(i * i % 251 for i in range(80))
    for chunk in (1 << 20, 3):
        monkeypatch.setattr("seedbed.formats.weights.sstable.CHUNK_WORDS", chunk)
        for size in range(len(data)):
            assert masked_crc32c(memoryview(data)[:size]) == crc(data[:size])


LETTERS = bytes(i % 251 for i in range(300))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (packed(0), b""),
        (packed(7) + b"\x08xab" + b"\x01\x02", b"xababab"),
        (packed(65) + b"\x00a" + b"\xfe\x01\x00", b"a" * 65),
        (packed(6) + b"\x08abc" + b"\x0b\x03\0\0\0", b"abcabc"),
        (packed(61) + b"\xf0\x3c" + LETTERS[:61], LETTERS[:61]),
        (packed(300) + b"\xf4\x2b\x01" + LETTERS, LETTERS),
        (packed(311) + b"\xf4\x2b\x01" + LETTERS + b"\x3d\x2b", LETTERS + LETTERS[1:12]),
    ],
)
def test_snappy(data, expected):
    assert unsnappy(memoryview(data)) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        packed(5) + b"\x00a" + b"\x01\x00",  # a copy from nowhere
        packed(5) + b"\x00a" + b"\x01\x02",  # from before the beginning
        packed(4) + b"\x08xab",  # shorter than it says
        packed(2) + b"\x08xab",  # longer
        packed(3) + b"\x08xa",  # cut in a literal
        packed(5) + b"\x00a" + b"\x01",  # cut in an offset
    ],
)
def test_damaged_snappy(data):
    with pytest.raises(ValueError, match=r"byte|copy"):
        unsnappy(memoryview(data))
