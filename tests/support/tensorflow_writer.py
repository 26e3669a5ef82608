"""For tests: TensorFlow's checkpoints of both versions, from the formats' descriptions."""

import struct

from seedbed.formats.weights.sstable import masked_crc32c
from tests.support.protobuf_writer import field, fixed32, packed, write_varint

FLOAT, DOUBLE, INT32, STRING, INT64, BOOL, HALF = 1, 2, 3, 7, 9, 10, 19
FLOAT_VAL, DOUBLE_VAL, INT_VAL, INT64_VAL, BOOL_VAL, HALF_VAL, CONTENT = 5, 6, 7, 10, 11, 13, 4
PLAIN, SNAPPY = 0, 1


def shape_message(shape):
    return b"".join(field(2, field(1, size)) for size in shape)


def slice_message(extents):
    """Of (start, length) a dimension, or None for the whole of it."""
    return b"".join(
        field(1, field(1, extent[0]) + field(2, extent[1]) if extent else b"") for extent in extents
    )


def floats(*numbers):
    return struct.pack(f"<{len(numbers)}f", *numbers)


def block_of(entries):
    """Keys share their beginnings with the one before; every third is whole."""
    data, restarts, last = b"", [], b""
    for place, (key, value) in enumerate(entries):
        shared = 0
        if place % 3 == 0:
            restarts.append(len(data))
        else:
            while key[: shared + 1] == last[: shared + 1] and shared < len(last):
                shared += 1
        data += packed(shared, len(key) - shared, len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    return data + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def snappy(data):
    """Literals, and copies of what was there up to 2 000 bytes before."""
    out, literal, place = write_varint(len(data)), b"", 0

    def flush():
        size = len(literal) - 1
        return (bytes([size << 2]) if size < 60 else bytes([60 << 2, size])) + literal

    while place < len(data):
        found = data.rfind(data[place : place + 4], max(0, place - 2000), place + 3)
        if place + 4 <= len(data) and found >= 0:
            out += flush() if literal else b""
            offset, literal = place - found, b""
            out += bytes([offset >> 8 << 5 | 1, offset & 255])
            place += 4
        else:
            literal += data[place : place + 1]
            place += 1
            if len(literal) == 100:
                out, literal = out + flush(), b""
    return out + (flush() if literal else b"")


def table(entries, per_block=2, compression=PLAIN, damage=lambda block: block):
    """A table of sorted entries; `damage` is done to data blocks before they are sealed."""
    file, index = bytearray(), []

    def append(content):
        handle = packed(len(file), len(content))
        sealed = content + bytes([compression])
        file.extend(sealed)
        file.extend(struct.pack("<I", masked_crc32c(memoryview(sealed))))
        return handle

    def stored(content):
        return snappy(content) if compression == SNAPPY else content

    entries = sorted(entries)
    for start in range(0, len(entries), per_block):
        chunk = entries[start : start + per_block]
        index.append((chunk[-1][0], append(damage(stored(block_of(chunk))))))
    footer = append(stored(block_of([]))) + append(stored(block_of(index)))
    file.extend(footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db"))
    return bytes(file)


def v1_entries(*variables):
    """Of (name, dtype, shape, [(extents, TensorProto), …])."""
    metas, entries = b"", []
    for name, dtype, shape, slices in variables:
        meta = field(1, name.encode()) + field(2, shape_message(shape)) + field(3, dtype)
        for place, (extents, proto) in enumerate(slices):
            where = slice_message(extents)
            meta += field(4, where)
            saved = field(1, name.encode()) + field(2, where) + field(3, proto)
            entries.append((b"\0" + name.encode() + b"\0\1" + bytes([place]), field(2, saved)))
        metas += field(1, meta)
    return [(b"", field(1, metas)), *entries]


def v1(*variables, **options):
    return table(v1_entries(*variables), **options)


def whole(name, dtype, shape, proto):
    return name, dtype, shape, [([None] * len(shape), proto)]


def bundle_entry(dtype, shape, data=b"", offset=0, shard=0, slices=()):
    entry = field(1, dtype) + field(2, shape_message(shape)) + field(3, shard) + field(4, offset)
    entry += field(5, len(data)) + fixed32(6, masked_crc32c(memoryview(data)))
    return entry + b"".join(field(7, slice_message(extents)) for extents in slices)


def header(shards, big_endian=0):
    return b"", field(1, shards) + field(2, big_endian)
