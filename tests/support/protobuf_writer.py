"""For tests of readers: Protocol Buffers' messages, from the format's description."""


def write_varint(value):
    value &= (1 << 64) - 1
    data = b""
    while value > 0x7F:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])


def packed(*numbers):
    return b"".join(map(write_varint, numbers))


def key(number, wire):
    return write_varint(number << 3 | wire)


def field(number, value):
    """A field of an integer, or of bytes: text, a message or packed numbers."""
    if isinstance(value, int):
        return key(number, 0) + write_varint(value)
    return b"".join((key(number, 2), write_varint(len(value)), value))


def fixed32(number, value):
    return key(number, 5) + value.to_bytes(4, "little")
