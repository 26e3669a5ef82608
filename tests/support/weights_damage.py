"""For tests of readers: files damaged in every way."""

import random
import tracemalloc

import pytest
import torch

from seedbed.runtime.errors import UserError

MEBIBYTE = 1 << 20


def assert_survives(read, path, data, flips=600):
    """Read `data` cut at every byte, and with bytes changed at random."""
    path.write_bytes(data)
    assert_tensors(read(path))
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert_tensors_or_line(read, path)
    chance = random.Random(0)
    for _ in range(flips):
        damaged = bytearray(data)
        for place in chance.choices(range(len(data)), k=chance.randint(1, 3)):
            damaged[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        path.write_bytes(damaged)
        assert_tensors_or_line(read, path)


def assert_refused(read, path, data, match=None):
    path.write_bytes(data)
    with pytest.raises(UserError, match=match) as caught:
        read(path)
    assert_line(caught.value, path)


def assert_refused_cheaply(read, path, data):
    """Refuse a file that claims gigabytes, without setting memory aside for them."""
    tracemalloc.start()
    try:
        assert_refused(read, path, data)
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()


def assert_tensors_or_line(read, path):
    try:
        assert_tensors(read(path))
    except UserError as error:
        assert_line(error, path)


def assert_tensors(tensors):
    assert isinstance(tensors, dict) and tensors
    for name, value in tensors.items():
        assert isinstance(name, str)
        assert value.dtype == torch.float32 and value.is_contiguous()


def assert_line(error, path):
    assert str(path) in str(error) and len(str(error).splitlines()) == 1
