"""The JSON file of COCO's instance annotations."""

from codecs import BOM_UTF8
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from seedbed.data.layouts.regions import Segmentation
from seedbed.data.text import plain_name
from seedbed.runtime.errors import UserError

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
    """Read an annotation file; raises UserError if it is not one."""
    try:
        return Instances.model_validate_json(path.read_bytes().removeprefix(BOM_UTF8))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error}; put it there") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path} holds no COCO instances: {place}: {first['msg']}") from None
