"""Regions of COCO's annotations: polygons, and run lengths plain or as a string."""

import re
from typing import Annotated

import numpy as np
from pycocotools import mask as coco_mask
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
# x0, y0, x1, y1, …; an array, because a file has millions of numbers
Polygon = Annotated[list[float], AfterValidator(np.array)]


MOST_AROUND = 100  # times height and width; COCO's library takes 100 bytes for each pixel


class RunLengths(BaseModel):
    """Lengths of runs of background and object in turn, down the columns; `size` is (H, W)."""

    model_config = ConfigDict(frozen=True)

    size: tuple[Count, Count]
    counts: list[Count] | str


Segmentation = RunLengths | list[Polygon]


def region_of(found: Segmentation, size: tuple[int, int]) -> np.ndarray:
    """Give the pixels, bool (H, W), of a segmentation on an image of a size (H, W).

    Raises ValueError for one that is broken or does not fit the image.
    """
    if isinstance(found, RunLengths):
        return _of_runs(found, size)
    return _of_polygons(found, size)


def _of_polygons(polygons: list[Polygon], size: tuple[int, int]) -> np.ndarray:
    """Rasterise as COCO's own library does, which trusts the coordinates it is given."""
    height, width = size
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon has {len(polygon)} numbers")
        points = np.reshape(polygon, (-1, 2))
        if not (abs(points / (width, height) - 0.5) <= 1).all():
            raise ValueError(f"a polygon lies off the image of {height} x {width}")
        around = abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
        if around > MOST_AROUND * (height + width):
            raise ValueError(f"a polygon is {around:.0f} pixels around")
    runs = coco_mask.frPyObjects(polygons, height, width)
    return coco_mask.decode(coco_mask.merge(runs)).astype(bool)


def _of_runs(found: RunLengths, size: tuple[int, int]) -> np.ndarray:
    counts = found.counts if isinstance(found.counts, list) else _counts(found.counts)
    if found.size != size or min(counts, default=0) < 0 or sum(counts) != size[0] * size[1]:
        raise ValueError(f"run lengths of {found.size} do not fill the image of {size}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size[::-1]).T


def _counts(text: str) -> list[int]:
    """Read COCO's compressed run lengths.

    A character holds five bits, the lowest first, and a sixth that says that more follow; from the
    fourth run on, what is stored is the difference to the last run but one.
    """
    if not re.fullmatch("(?:[P-o]{0,6}[0-O])*", text):
        raise ValueError("run lengths are no string of COCO's")
    counts: list[int] = []
    for digits in re.findall("[P-o]*[0-O]", text):
        bits = [ord(digit) - 48 & 31 for digit in digits]
        value = sum(five << 5 * place for place, five in enumerate(bits))
        value -= (bits[-1] >> 4) << 5 * len(bits)  # the highest bit is the sign
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts
