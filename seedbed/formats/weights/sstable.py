"""Reads sorted tables of keys and values (SSTable) as LevelDB and TensorFlow write them.

The entries are in blocks, whose positions are in an index block, whose position is in the footer.
Each block has a checksum and may be compressed with Snappy.
Sources: LevelDB, "Table format"; Snappy, "Format description"; RFC 3720, B.4 (CRC32C).
"""

import functools
from collections.abc import Iterator

import numpy as np

from seedbed.formats.weights.protobuf import varint
from seedbed.formats.weights.reading import cut

FOOTER_BYTES = 48
MAGIC = 0xDB4775248B80FB57.to_bytes(8, "little")
TRAILER_BYTES = 5  # after each block: its compression (1) and its checksum (4)
PLAIN, SNAPPY = 0, 1
MAX_KEY = 1 << 12  # bytes; each byte of a file can make a key longer than the one before

POLYNOMIAL = 0x82F63B78  # CRC32C with reflected bits: bit 31 is x⁰, bit 0 is x³¹
CHECKSUM_MASK = 0xA282EAD8
CHUNK_WORDS = 1 << 20


def read_table(file: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Iterate over the entries (key, value) of a table file.

    Values are views of `file` or of a decompressed block. Raises ValueError at the first entry that
    is damaged or cut off, for blocks out of order, and for a file that is not a table.
    """
    footer = file[-FOOTER_BYTES:]
    if len(footer) < FOOTER_BYTES or footer[-len(MAGIC) :] != MAGIC:
        raise ValueError("no table's footer at its end")
    _, position = _handle(footer, 0)  # of the filter blocks, which TensorFlow does not write
    index, _ = _handle(footer, position)
    end = 0
    for _, value in _entries(_block(file, *index)):
        (offset, size), _ = _handle(value, 0)
        if offset < end:  # else the same block could be read endlessly
            raise ValueError(f"a block at {offset}, after one that ends at {end}")
        end = offset + size
        yield from _entries(_block(file, offset, size))


def _handle(data: memoryview, position: int) -> tuple[tuple[int, int], int]:
    offset, position = varint(data, position)
    size, position = varint(data, position)
    return (offset, size), position


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
    # Restart points, positions of entries with complete keys, serve binary search.
    restarts = int.from_bytes(block[-4:], "little")
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
        if len(key) > MAX_KEY:
            raise ValueError(f"a key of {len(key)} bytes")
        yield key, cut(entries, position, size)
        position += size


def unsnappy(data: memoryview) -> bytearray:
    """Decompress Snappy's raw format. Raises ValueError for damaged data.

    Memory grows with the output, at most 22 times `data`, whatever length the data claim.
    """
    length, position = varint(data, 0)
    out = bytearray()
    while position < len(data):
        tag = data[position]
        kind, high = tag & 3, tag >> 2
        position += 1
        # The tag is followed by the length of a long literal or by the offset of a copy.
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
    """Append `size` bytes that start `offset` before the end; they may overlap the new ones."""
    if not 0 < offset <= len(out):
        raise ValueError(f"a copy from {offset} bytes back, {len(out)} are there")
    start = len(out) - offset
    pattern = out[start : start + size]
    out += (pattern * -(-size // len(pattern)))[:size]


def masked_crc32c(data: memoryview) -> int:
    """CRC32C, rotated and shifted as LevelDB stores it; about 100 MB per second.

    The bytes are a polynomial over GF(2) and the checksum is its remainder. The first half of the
    words, multiplied by a power of x, is added to the second half until one word is left, so that
    a few operations on whole arrays suffice.
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
    """Byte j of a word times x^(32 · `distance`), (4, 256); `distance` is a power of two."""
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
