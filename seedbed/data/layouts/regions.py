"""Segmentations of COCO's annotations: polygons and run lengths, plain or compressed."""

import re
from collections.abc import Iterable
from itertools import chain
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

Count = Annotated[int, Field(ge=0)]
# x0, y0, x1, y1, …; an array, because a file has millions of numbers
Polygon = Annotated[list[float], AfterValidator(np.array)]

MAX_PERIMETER = 100  # times (H + W); COCO's library allocates 100 bytes per pixel of it


class RunLengths(BaseModel):
    """Alternating lengths of runs of background and object, column by column; `size` is (H, W)."""

    model_config = ConfigDict(frozen=True)

    size: tuple[Count, Count]
    counts: list[Count] | str


def _in_coco_form(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """A segmentation in COCO's form, if it has one of those that other programs write.

    These are a single polygon without its list, points [x, y] instead of numbers, and run lengths
    within a list.
    """
    if not isinstance(value, list) or not value:
        return value
    first = value[0]
    if isinstance(first, int | float):
        return [value]
    if len(value) == 1 and isinstance(first, dict):
        return first
    if _are_points(value):
        return [list(chain.from_iterable(value))]
    return [list(chain.from_iterable(part)) if _are_points(part) else part for part in value]


def _are_points(value: Any) -> bool:  # noqa: ANN401 - any JSON
    """Whether a value is a list of at least three pairs of numbers."""
    return (
        isinstance(value, list)
        and len(value) > 2
        and all(isinstance(point, list) and len(point) == 2 for point in value)
        and all(isinstance(number, int | float) for point in value for number in point)
    )


Segmentation = Annotated[RunLengths | list[Polygon], BeforeValidator(_in_coco_form)]


def have_fractions(segmentations: Iterable[Segmentation | None]) -> bool:
    """Whether there are polygons, and no coordinate of any exceeds 1."""
    lists = (found for found in segmentations if isinstance(found, list))
    polygons = (polygon for polygon in chain.from_iterable(lists) if len(polygon) >= 6)
    first = next(polygons, None)
    return first is not None and all(abs(p).max() <= 1 for p in chain([first], polygons))


def region_of(segmentation: Segmentation, size: tuple[int, int]) -> np.ndarray:
    """The pixels, bool (H, W), of a segmentation of an image of a size (H, W).

    Raises ValueError if it is broken or does not fit the image.
    """
    if isinstance(segmentation, RunLengths):
        return _of_runs(segmentation, size)
    return _of_polygons(segmentation, size)


def _of_polygons(polygons: list[Polygon], size: tuple[int, int]) -> np.ndarray:
    """Rasterise with COCO's library, which needs coordinates that have been checked."""
    height, width = size
    # Points and lines that were drawn by accident have no area.
    polygons = [polygon for polygon in polygons if len(polygon) not in (2, 4)] or polygons
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon has {len(polygon)} numbers")
        points = np.reshape(polygon, (-1, 2))
        if not (abs(points / (width, height) - 0.5) <= 1).all():
            raise ValueError(f"a polygon lies off the image of {height} x {width}")
        perimeter = abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
        if perimeter > MAX_PERIMETER * (height + width):
            raise ValueError(f"a polygon is {perimeter:.0f} pixels around")
    from pycocotools import mask as coco_mask  # only polygons need it

    runs = coco_mask.frPyObjects(polygons, height, width)
    return coco_mask.decode(coco_mask.merge(runs)).astype(bool)


def _of_runs(runs: RunLengths, size: tuple[int, int]) -> np.ndarray:
    counts = runs.counts if isinstance(runs.counts, list) else _decompress(runs.counts)
    if runs.size != size or min(counts, default=0) < 0 or sum(counts) != size[0] * size[1]:
        raise ValueError(f"run lengths of {runs.size} do not fill the image of {size}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size[::-1]).T


def _decompress(text: str) -> list[int]:
    """Decode COCO's compressed run lengths.

    A character holds five bits of a number, the lowest bits first, and a sixth bit that is set if
    more characters follow. From the fourth run on, the differences to the run before the previous
    one are stored.
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
