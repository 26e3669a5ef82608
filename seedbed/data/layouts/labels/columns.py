"""Which column of a table holds what: names of columns in the forms people have."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from seedbed.data.text import MAX_LENGTH, plain_name

# Of several such columns the first in this order is taken.
IMAGE = (
    *("filename", "file_name", "fname", "file", "image_file", "imagefile", "image_filename"),
    *("image_name", "imagename", "image_path", "imagepath", "img_path", "file_path", "filepath"),
    *("path", "image", "images", "img", "img_name", "image_id", "imageid", "img_id", "id"),
)
LABEL = (  # one class in a cell
    *("label", "class", "category", "tag", "class_name", "classname", "label_name", "labelname"),
    *("class_label", "category_name"),
)
LABEL_ID = ("class_id", "classid", "category_id", "categoryid", "label_id", "labelid")
LABELS = ("labels", "classes", "categories", "tags", "class_names", "label_names")
NUMBERED = re.compile("(label|class|category|tag)_?[0-9]+")
SPLIT = ("split", "subset", "set", "partition", "phase", "data_split", "dataset_split")
IS_VAL = ("is_valid", "is_val", "is_validation")
# Columns beside those of classes in a table with a column for each class.
MEASURES = (
    *("width", "height", "depth", "area", "size", "filesize", "file_size", "confidence", "fold"),
    *("xmin", "ymin", "xmax", "ymax", "url", "source"),
)
# Columns, and keys of objects, that say whether the class beside them is there, or how surely.
PRESENCE = (
    *("confidence", "conf", "score", "value", "probability", "prob"),
    *("present", "is_present", "presence"),
)
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclass(frozen=True)
class Columns:
    """The positions of columns.

    Attributes:
        image: the column of file names.
        labels: the columns of labels; none if each further column is a class.
        many: whether blanks may separate the labels of a cell.
        split: the column of splits, or None.
        is_val: the column that says whether an image is a val image, or None.
        others: all other columns that have a name.

    """

    image: int
    labels: tuple[int, ...]
    many: bool
    split: int | None
    is_val: int | None
    others: tuple[int, ...]


def key_of(name: str) -> str:
    """A column's name in lower case with "_" between words; a very long one as it is."""
    if len(name) > MAX_LENGTH:
        return name
    return re.sub(r"[\s_-]+", "_", plain_name(name).casefold())


def split_named(name: str) -> str | None:
    """The split of a name such as "Training"; None for other names."""
    return SPLIT_NAMES.get(key_of(name))


def find_columns(header: Sequence[str]) -> Columns | None:
    """The columns of a header; None if it is not that of a table of labels."""
    keys = [key_of(name) for name in header]
    named = [key for key in keys if key]
    image = next((keys.index(name) for name in IMAGE if name in keys), None)
    labels = [place for place, key in enumerate(keys) if key in (*LABEL, *LABELS)]
    numbered = [place for place, key in enumerate(keys) if NUMBERED.fullmatch(key)]
    if not labels and not numbered:
        labels = _labels_of_other_names(keys)
    splits = [place for place, key in enumerate(keys) if key in SPLIT]
    is_val = next((keys.index(name) for name in IS_VAL if name in keys), None)
    if image is None or len(set(named)) < len(named) or len(labels) > 1 or len(splits) > 1:
        return None
    taken = {image, is_val, *labels, *splits, *(() if labels else numbered)}
    others = tuple(
        place
        for place, key in enumerate(keys)
        if place not in taken and key and not key.startswith("unnamed:") and key not in IMAGE
    )
    if not labels and not numbered and not others:
        return None
    return Columns(
        image=image,
        labels=tuple(labels or numbered),
        many=any(keys[place] in LABELS for place in labels),
        split=splits[0] if splits else None,
        is_val=is_val,
        others=others,
    )


def _labels_of_other_names(keys: Sequence[str]) -> list[int]:
    """The column of one class in a cell, often its number, where none has a name of LABEL.

    "y" can also be a coordinate, or a letter as a class: it counts if no other column is unknown.
    """
    found = [keys.index(name) for name in (*LABEL_ID, "target") if name in keys]
    known = (*IMAGE, *SPLIT, *IS_VAL, *MEASURES, *PRESENCE)
    unknown = [k for k in keys if k and k not in known and not k.startswith("unnamed:")]
    return found[:1] or ([keys.index("y")] if unknown == ["y"] else [])
