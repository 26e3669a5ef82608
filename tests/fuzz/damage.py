"""Files damaged in the ways that readers stumble over, drawn by hypothesis."""

from collections.abc import Sequence

from hypothesis import strategies as st

NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40)
TOKENS = (b"\0", b"\xff" * 8, b"9" * 5000, b"[" * 3000, b"\r\n", b" ", b"../../x", b"-1", b"1e999")
WAYS = ("cut", "flip", "number", "token", "drop", "repeat", "splice")


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A file of `seeds` after one to four kinds of damage."""
    data = draw(st.sampled_from(seeds))
    for way in draw(st.lists(st.sampled_from(WAYS), min_size=1, max_size=4)):
        start, stop = sorted((draw(_place(data)), draw(_place(data))))
        data = _damage(draw, way, data, start, stop, seeds)
    return data


def _place(data: bytes) -> st.SearchStrategy[int]:
    return st.integers(0, len(data))


def _damage(
    draw: st.DrawFn, way: str, data: bytes, start: int, stop: int, seeds: Sequence[bytes]
) -> bytes:
    if way == "cut":
        return data[:stop]
    if way == "flip":
        return data[:start] + bytes([draw(st.integers(0, 255))]) + data[start + 1 :]
    if way == "number":
        size = draw(st.sampled_from((1, 2, 4, 8)))
        number = draw(st.sampled_from(NUMBERS)) & (1 << 8 * size) - 1
        order = draw(st.sampled_from(("little", "big")))
        return data[:start] + number.to_bytes(size, order) + data[start + size :]
    if way == "token":
        return data[:start] + draw(st.sampled_from(TOKENS)) + data[start:]
    if way == "drop":
        return data[:start] + data[stop:]
    if way == "repeat":
        return data[:stop] + data[start:stop] * draw(st.integers(1, 20)) + data[stop:]
    other = draw(st.sampled_from(seeds))
    return data[:start] + other[start:]
