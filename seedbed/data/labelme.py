"""labelme's JSON files: masks as polygons that people can correct, and back."""

import base64
import io
from codecs import BOM_UTF8
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from seedbed.data.annotation_names import AnnotationNames
from seedbed.data.layouts.regions import region_of
from seedbed.data.outlines import outlines_of
from seedbed.data.text import compose
from seedbed.runtime.errors import UserError

VERSION = "5.5.0"  # of the format; labelme opens files of all its versions
CIRCLE_POINTS = 72


class Shape(BaseModel):
    """A shape; later ones lie over earlier ones. `mask` is a PNG in Base64."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    label: str
    points: list[tuple[float, float]]
    shape_type: str = "polygon"
    mask: str | None = None


class LabelmeFile(BaseModel):
    """An annotated image; other keys are ignored."""

    model_config = ConfigDict(frozen=True)

    shapes: list[Shape]
    imagePath: str = ""  # noqa: N815 - labelme's own names
    imageHeight: int | None = None  # noqa: N815
    imageWidth: int | None = None  # noqa: N815


def labelme_content(
    mask: np.ndarray, names: Mapping[int, str], image: str, *, tolerance: float
) -> dict[str, Any]:
    """What labelme's file of a mask (H, W) uint8 holds.

    Args:
        mask: the mask.
        names: of its values.
        image: path of the image, relative to the file's folder.
        tolerance: see `outlines_of`.

    """
    shapes = [
        {
            "label": names[value],
            "points": points.round(2).tolist(),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
            "mask": None,
        }
        for value, points in outlines_of(mask, tolerance=tolerance)
    ]
    return {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": None,
        "imageHeight": mask.shape[0],
        "imageWidth": mask.shape[1],
    }


def read_labelme(path: Path) -> LabelmeFile:
    """Read a file of labelme's; raises UserError if it is none."""
    try:
        return LabelmeFile.model_validate_json(path.read_bytes().removeprefix(BOM_UTF8))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(
            f"{path} is no file of labelme's: {place}: {first['msg']}; save it with labelme"
        ) from None


def draw_labelme(
    content: LabelmeFile, path: Path, size: tuple[int, int], names: AnnotationNames
) -> np.ndarray:
    """The mask (H, W) uint8 of class ids that a file's shapes give, drawn in their order.

    Raises:
        UserError: if the file is of an image of another size, or a shape is broken or has a label
            that is not a name.

    """
    stated = (content.imageHeight or size[0], content.imageWidth or size[1])
    if stated != size:
        raise UserError(
            f"{path} is of an image of {stated}, not {size}: give the file of the image"
        )
    mask, ids = np.zeros(size, np.uint8), names.ids
    for number, shape in enumerate(content.shapes):
        label = compose(shape.label.strip())
        names.check(label, path)
        try:
            mask[_pixels(shape, size)] = ids[label]
        except ValueError as error:
            raise UserError(f"shapes.{number} of {path}: {error}; correct it") from None
    return mask


def _pixels(shape: Shape, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a shape, bool (H, W); raises ValueError if it is broken or has no area."""
    if shape.shape_type == "mask":
        return _painted(shape, size)
    points = np.array(shape.points).reshape(-1, 2)
    if shape.shape_type == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])
    elif shape.shape_type == "circle" and len(points) == 2:
        angles = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
        radius = np.hypot(*(points[1] - points[0]))
        points = points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], 1)
    elif shape.shape_type not in ("polygon", "rectangle"):
        raise ValueError(f"a shape of type {shape.shape_type} has no area")
    points = points.clip(0, size[::-1])  # as labelme draws it
    return region_of([points.ravel()], size)


def _painted(shape: Shape, size: tuple[int, int]) -> np.ndarray:
    """The pixels of a brush or of labelme's AI: a small mask, and its upper left corner."""
    if shape.mask is None or len(shape.points) != 2:
        raise ValueError("a shape of type mask has no mask or not two points")
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape.mask)), formats=["PNG"]) as picture:
            if picture.height > size[0] or picture.width > size[1]:
                raise ValueError("it is larger than the image")
            part = np.array(picture.convert("L")) > 0
    except Exception as error:  # Pillow raises any for a broken file
        raise ValueError(f"its mask cannot be read: {error}") from None
    (left, top) = np.array(shape.points[0]).round().astype(int)
    if top < 0 or left < 0 or top + part.shape[0] > size[0] or left + part.shape[1] > size[1]:
        raise ValueError("its mask lies off the image")
    region = np.zeros(size, bool)
    region[top : top + part.shape[0], left : left + part.shape[1]] = part
    return region
