"""An image in overlapping tiles, whose scores are blended where tiles overlap.

Along each axis, a tile's weight rises linearly from 0 to 1, and its neighbour's falls, over the
middle half of their overlap. The outer quarters, where a network sees the zeros of its padding, are
context only.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

# Tiles begin at multiples of this, so that the cells of a network's grid are cells of the whole
# image's. Its stride has to divide it.
ALIGNMENT = 32


@dataclass(frozen=True)
class Tiling:
    """How an image is cut.

    Attributes:
        side: of a tile, in pixels.
        overlap: of neighbouring tiles, in pixels, at least; at most half of the side.

    """

    side: int
    overlap: int

    def spans(self, length: int) -> list["Span"]:
        """The tiles along an axis of `length` pixels; none is longer than `side`.

        The last tile may overlap the one before it by more, and is up to 31 pixels shorter.
        """
        step = (self.side - self.overlap) // ALIGNMENT * ALIGNMENT
        starts = list(range(0, max(1, length - self.side), step))
        if length > self.side:
            starts.append(-((self.side - length) // ALIGNMENT) * ALIGNMENT)
        stops = [min(start + self.side, length) for start in starts]
        ramps = [
            _centre(start, stop, self.overlap // 2)
            for start, stop in zip(starts[1:], stops[:-1], strict=True)
        ]
        ends = [(0, 0), *ramps, (length, length)]
        return list(map(Span, starts, stops, ends[:-1], ends[1:]))


def _centre(start: int, stop: int, width: int) -> tuple[int, int]:
    """The middle `width` pixels of start..stop."""
    first = start + (stop - start - width) // 2
    return first, first + width


@dataclass(frozen=True)
class Span:
    """A tile along one axis: pixels start..stop, and those where it is blended with neighbours.

    `rise` and `fall` are (first, end) of the pixels shared with the tile before and after it.
    """

    start: int
    stop: int
    rise: tuple[int, int]
    fall: tuple[int, int]

    @property
    def finished(self) -> int:
        """Number of pixels that no later tile shares, from the first of `rise`."""
        return self.fall[0] - self.rise[0]

    @property
    def shared(self) -> int:
        """Number of pixels that the next tile shares."""
        return self.fall[1] - self.fall[0]

    @property
    def used(self) -> slice:
        """The tile's pixels, counted from `start`, that have a weight."""
        return slice(self.rise[0] - self.start, self.fall[1] - self.start)

    @property
    def weights(self) -> np.ndarray:
        """The weight of each pixel that is used, float32."""
        up, down = (_ramp(last - first) for first, last in (self.rise, self.fall))
        weights = np.ones(self.finished + self.shared, np.float32)
        weights[: len(up)] = up
        weights[len(weights) - len(down) :] = down[::-1]
        return weights


def _ramp(width: int) -> np.ndarray:
    return (np.arange(width, dtype=np.float32) + 0.5) / np.float32(max(width, 1))


def blend_columns(
    tiles: Iterable[tuple[Span, np.ndarray]],
) -> Iterator[tuple[slice, np.ndarray]]:
    """Blend the scores (C, h, w) of a row of tiles; yields columns of the image and their scores.

    What a tile shares with the next is held back until that comes.
    """
    held: np.ndarray | None = None
    for span, scores in tiles:
        scores = scores[..., span.used] * span.weights
        if held is not None:
            scores[..., : held.shape[-1]] += held
        held = scores[..., span.finished :]
        yield slice(span.rise[0], span.fall[0]), scores[..., : span.finished]


class RowBlender:
    """Makes labels of rows of tiles from top to bottom.

    At any time it holds, at the image's width, the scores of those rows of the image that two rows
    of tiles share: overlap / 2 rows of float32 for each class.

    Args:
        num_classes: C.
        width: of the image.

    """

    def __init__(self, num_classes: int, width: int) -> None:
        self._above = np.zeros((num_classes, 0, width), np.float32)

    def labels(self, row: Span, tiles: Iterable[tuple[Span, np.ndarray]]) -> np.ndarray:
        """Labels (h, W) uint8 of the image's rows from `row.rise[0]` to `row.fall[0]`.

        The label of a pixel is the channel with its highest blended score.

        Args:
            row: the tiles' rows.
            tiles: their columns, from left to right, and their scores (C, h, w) float32.

        """
        num_classes, _, width = self._above.shape
        below = np.empty((num_classes, row.shared, width), np.float32)
        labels = np.empty((row.finished, width), np.uint8)
        for columns, scores in blend_columns(tiles):
            scores = scores[:, row.used] * row.weights[:, None]
            scores[:, : self._above.shape[1]] += self._above[..., columns]
            labels[:, columns] = scores[:, : row.finished].argmax(0)
            below[..., columns] = scores[:, row.finished :]
        self._above = below
        return labels
