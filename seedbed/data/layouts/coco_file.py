"""The JSON file of COCO's instance annotations."""

import re
from codecs import BOM_UTF8
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from seedbed.data.layouts.regions import Segmentation, have_fractions
from seedbed.data.text import MAX_LENGTH, plain_name, shortened
from seedbed.runtime.errors import UserError

TINY = 3  # pixels; all polygons of images of such sides may end within the first pixel
DATA_URI = re.compile("data:[^,]*,", re.IGNORECASE)  # an image within the file
# Programs write the same id as a number here and as text there.
Key = Annotated[int | str, AfterValidator(lambda key: str(key).strip())]
Name = Annotated[str, AfterValidator(plain_name)]


class Record(BaseModel):
    """A part of the file; other keys are ignored."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class Category(Record):
    """A category; classes are identified by its name."""

    id: Key
    name: Name


class Photo(Record):
    """An image; `file_name` is relative to the folder of images."""

    id: Key
    file_name: str
    height: int | None = None
    width: int | None = None


class Instance(Record):
    """An object or a crowd; files of bounding boxes have no `segmentation`."""

    image_id: Key
    category_id: Key
    iscrowd: Annotated[bool | None, AfterValidator(bool)] = False
    segmentation: Segmentation | None = None


class Instances(Record):
    """The whole file."""

    images: list[Photo]
    categories: list[Category]
    annotations: list[Instance]


def read_instances(path: Path) -> Instances:
    """Read an annotation file.

    Raises UserError if it is not one, has no names of image files, has a category id twice, or
    polygons that are not in pixels.
    """
    try:
        content = Instances.model_validate_json(path.read_bytes().removeprefix(BOM_UTF8))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}; put it there") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path} holds no COCO instances: {place}: {first['msg']}") from None
    except UserError as error:  # a very long name
        raise UserError(f"{path}: {error}") from None
    _check(content, path)
    return content


def _check(content: Instances, path: Path) -> None:
    """Raise UserError for what can be read and cannot be meant."""
    for photo in content.images:
        if DATA_URI.match(photo.file_name) or len(photo.file_name) > MAX_LENGTH:
            raise UserError(
                f"the file_name of image {photo.id} in {path}, {shortened(photo.file_name)!r}, is "
                "not the name of a file: save the image as a file, and write its name"
            )
    names: dict[Key, str] = {}
    for info in content.categories:
        if (other := names.setdefault(info.id, info.name)) != info.name:
            raise UserError(
                f"category {info.id} of {path} is {other!r} and {info.name!r}: renumber one of "
                "them, and its annotations"
            )
    sides = (side for photo in content.images for side in (photo.height, photo.width) if side)
    segmentations = (instance.segmentation for instance in content.annotations)
    if max(sides, default=TINY + 1) > TINY and have_fractions(segmentations):
        raise UserError(
            f"the coordinates of all polygons in {path} are at most 1, as fractions of the image "
            "are: write them in pixels"
        )
