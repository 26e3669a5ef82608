"""Parts of an axis and of a picture, so that a part can be resized as it is within the whole."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Samples `first` to `end` (excluded) of the `whole` samples along an axis."""

    first: int
    end: int
    whole: int

    @property
    def length(self) -> int:
        """Number of samples."""
        return self.end - self.first

    @property
    def is_whole(self) -> bool:
        """Whether no sample is left out."""
        return self.length == self.whole

    @property
    def mirrored(self) -> "Part":
        """The same samples, counted from the end of the axis."""
        return Part(self.whole - self.end, self.whole - self.first, self.whole)

    @property
    def as_slice(self) -> slice:
        """The slice of the whole axis."""
        return slice(self.first, self.end)

    def within(self, other: "Part") -> slice:
        """Where these samples lie among those of `other`, a part of the same axis."""
        return slice(self.first - other.first, self.end - other.first)

    def source(self, whole: int) -> "Part":
        """Samples of the same axis at `whole` samples from which any method computes these.

        They are the matching interval plus the margin of a bicubic kernel, clipped to the axis.
        """
        if whole == self.whole:
            return self
        ratio = whole / self.whole
        margin = 2 + math.ceil(2 * max(1.0, ratio))  # of a bicubic kernel, and half a sample
        first, end = math.floor(self.first * ratio), math.ceil(self.end * ratio)
        return Part(max(0, first - margin), min(whole, end + margin), whole)


Region = tuple[Part, Part]  # rows, columns


def whole_region(size: tuple[int, int]) -> Region:
    """All rows and columns."""
    rows, columns = size
    return Part(0, rows, rows), Part(0, columns, columns)


def size_of(region: Region) -> tuple[int, int]:
    """(rows, columns) of the whole that a region is a part of."""
    return region[0].whole, region[1].whole
