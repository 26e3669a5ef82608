"""Writing a palette PNG a few rows at a time, as Pillow cannot."""

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from seedbed.formats.palette import VOC_PALETTE
from seedbed.formats.pictures import PNG_SIGNATURE
from seedbed.runtime.atomic import atomic

LEVEL = 6  # of zlib's compression, as Pillow's


class MaskRows:
    """The rows of a mask that is being written, see `mask_rows`."""

    def __init__(self, file: BinaryIO, size: tuple[int, int]) -> None:
        self._file, self._size, self._written = file, size, 0
        self._packer = zlib.compressobj(LEVEL)
        height, width = size
        file.write(PNG_SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        self._chunk(b"PLTE", VOC_PALETTE.tobytes())

    def write(self, rows: np.ndarray) -> None:
        """Append rows (h, W) uint8."""
        if rows.dtype != np.uint8 or rows.shape[1:] != self._size[1:]:
            raise ValueError(f"rows: uint8 (h, {self._size[1]}) wanted, got {rows.shape}")
        self._written += len(rows)
        # Each row begins with the number of its filter: 0, none, the best for a palette.
        self._chunk(b"IDAT", self._packer.compress(np.pad(rows, ((0, 0), (1, 0))).tobytes()))

    def close(self) -> None:
        """End the file; ValueError if rows are missing."""
        if self._written != self._size[0]:
            raise ValueError(f"{self._written} rows were written, not {self._size[0]}")
        self._chunk(b"IDAT", self._packer.flush())
        self._chunk(b"IEND", b"")

    def _chunk(self, kind: bytes, content: bytes) -> None:
        if kind == b"IDAT" and not content:
            return
        checksum = zlib.crc32(kind + content)
        self._file.write(struct.pack(">I", len(content)) + kind + content)
        self._file.write(struct.pack(">I", checksum))


@contextmanager
def mask_rows(path: Path, size: tuple[int, int]) -> Iterator[MaskRows]:
    """Yield what takes the rows of a mask of a size (H, W), from top to bottom.

    The file is that of `write_mask` but for its compression.
    """
    with atomic(path) as temporary, temporary.open("wb") as file:
        rows = MaskRows(file, size)
        yield rows
        rows.close()
