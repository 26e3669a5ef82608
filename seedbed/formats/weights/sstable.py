"""Sorted tables of keys and values (SSTable), as LevelDB and TensorFlow write them.

Entries stand in blocks, an index block says where those are, a footer says where the index is.
Each block has a checksum, and may be compressed by Snappy.
Sources: LevelDB, "Table format"; Snappy, "Format description"; RFC 3720, B.4 (CRC32C).
"""

import functools
from collections.abc import Iterator

import numpy as np

from seedbed.formats.weights.protobuf import varint

FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
TRAILER_BYTES = 5  # after each block: how it is compressed (1), its checksum (4)
PLAIN, SNAPPY = 0, 1
LONGEST_KEY = 1 << 12  # a byte of the file can make a key that is longer by one than the last

POLYNOMIAL = 0x82F63B78  # CRC32C, bits reflected: bit 31 stands for x⁰, bit 0 for x³¹
CHECKSUM_MASK = 0xA282EAD8
CHUNK_WORDS = 1 << 20


def read_table(file: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Entries (key, value) of a whole table file, in the order of the file.

    Values are views of `file`, or of a block's decompressed copy. Raises ValueError for a file
    that is cut, damaged or no table, blocks out of order included; what came before is given first.
    """
    footer = file[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or footer[-len(MAGIC) :] != MAGIC:
        raise ValueError("no table's footer at its end")
    _, position = _handle(footer, 0)  # of the blocks of filters, which TensorFlow does not write
    index, _ = _handle(footer, position)
    end = 0
    for _, value in _entries(_block(file, *index)):
        (offset, size), _ = _handle(value, 0)
        if offset < end:  # a block read again and again would never end
            raise ValueError(f"a block at {offset}, after one that ends at {end}")
        end = offset + size
        yield from _entries(_block(file, offset, size))


def _handle(data: memoryview, position: int) -> tuple[tuple[int, int], int]:
    offset, position = varint(data, position)
    size, position = varint(data, position)
    return (offset, size), position


def cut(data: memoryview, offset: int, size: int) -> memoryview:
    """Bytes [offset, offset + size) of `data`; raises ValueError if it does not have them."""
    if offset + size > len(data):
        raise ValueError(f"{size} bytes at {offset}, the file ends at {len(data)}")
    return data[offset : offset + size]


def _block(file: memoryview, offset: int, size: int) -> memoryview:
    stored = cut(file, offset, size + TRAILER_BYTES)
    content, checksum = stored[: size + 1], int.from_bytes(stored[size + 1 :], "little")
    if masked_crc32c(content) != checksum:
        raise ValueError(f"wrong checksum of the block at {offset}")
    compression = content[size]
    if compression not in (PLAIN, SNAPPY):
        raise ValueError(f"unknown compression {compression} of the block at {offset}")
    return content[:size] if compression == PLAIN else memoryview(unsnappy(content[:size]))


def _entries(block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    restarts = int.from_bytes(block[-4:], "little")  # entries with whole keys, for binary search
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise ValueError(f"a block of {len(block)} bytes with {restarts} restart points")
    entries, position, key = block[:end], 0, b""
    while position < end:
        shared, position = varint(entries, position)
        unshared, position = varint(entries, position)
        size, position = varint(entries, position)
        if shared > len(key):
            raise ValueError(f"{shared} bytes shared with a key of {len(key)}")
        key = key[:shared] + bytes(cut(entries, position, unshared))
        position += unshared
        if len(key) > LONGEST_KEY:
            raise ValueError(f"a key of {len(key)} bytes")
        yield key, cut(entries, position, size)
        position += size


def unsnappy(data: memoryview) -> bytearray:
    """Decompress Snappy's raw format. Raises ValueError for damaged data.

    Memory grows as data come, not by the length declared: to 22 times `data` at the most.
    """
    length, position = varint(data, 0)
    out = bytearray()
    while position < len(data):
        tag = data[position]
        kind, high = tag & 3, tag >> 2
        position += 1
        # What follows the tag: of a literal its length if that does not fit, of a copy its offset.
        extra = (max(0, high - 59), 1, 2, 4)[kind]
        number = int.from_bytes(cut(data, position, extra), "little")
        position += extra
        if kind == 0:
            size = 1 + (number if extra else high)
            out += cut(data, position, size)
            position += size
        elif kind == 1:
            _repeat(out, offset=(tag >> 5) << 8 | number, size=4 + (high & 7))
        else:
            _repeat(out, offset=number, size=1 + high)
        if len(out) > length:
            break
    if len(out) != length:
        raise ValueError(f"a compressed block of another length than the {length} bytes it says")
    return out


def _repeat(out: bytearray, offset: int, size: int) -> None:
    """Append `size` bytes from `offset` bytes before the end, where they may still be to come."""
    if not 0 < offset <= len(out):
        raise ValueError(f"a copy from {offset} bytes back, {len(out)} are there")
    start = len(out) - offset
    pattern = out[start : start + size]
    out += (pattern * -(-size // len(pattern)))[:size]


def masked_crc32c(data: memoryview) -> int:
    """CRC32C of bytes, rotated and shifted as LevelDB stores it; some 100 MB a second.

    The bytes are a polynomial over GF(2), the checksum its remainder. Words far from the end are
    multiplied by a power of x and added to those nearer to it, which halves their number, until
    one is left: all in a few steps on whole arrays.
    """
    whole = len(data) // 4 * 4
    words = np.frombuffer(data[:whole], "<u4")
    crc = 0xFFFFFFFF
    for start in range(0, len(words), CHUNK_WORDS):
        crc = _remainder(words[start : start + CHUNK_WORDS].copy(), crc)
    for byte in data[whole:]:
        crc = int(_power_tables(1)[3][crc & 0xFF ^ byte]) ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + CHECKSUM_MASK) & 0xFFFFFFFF


def _remainder(words: np.ndarray, crc: int) -> int:
    words[0] ^= np.uint32(crc)
    while len(words) > 1:
        distance = 1 << (len(words) - 1).bit_length() - 1  # at least half of them, a power of two
        far, words = words[:-distance], words[-distance:]
        words[len(words) - len(far) :] ^= _times_power(far, distance)
    return int(_times_power(words, 1)[0])


def _times_power(words: np.ndarray, distance: int) -> np.ndarray:
    digits = words.view(np.uint8).reshape(-1, 4).T
    products = (table[digit] for table, digit in zip(_power_tables(distance), digits, strict=True))
    return functools.reduce(np.bitwise_xor, products)


@functools.cache
def _power_tables(distance: int) -> np.ndarray:
    """(4, 256): byte j of a word as a polynomial, times x^(32 · `distance`), a power of two."""
    power = _multiply(1 << 30, 1)  # x · x³¹
    for _ in range(distance.bit_length() - 1):
        power = _multiply(power, power)
    products = np.array([_multiply(1 << bit, power) for bit in range(32)], np.uint32)
    bits = np.arange(256, dtype=np.uint32)[:, None] >> np.arange(8, dtype=np.uint32) & 1
    return np.bitwise_xor.reduce(bits * products.reshape(4, 1, 8), axis=2)


def _multiply(left: int, right: int) -> int:
    product = 0
    for bit in reversed(range(32)):
        product ^= right * (left >> bit & 1)
        right = right >> 1 ^ POLYNOMIAL * (right & 1)  # times x
    return product
