"""PASCAL VOC's annotations and masks, SBD's masks, and label files of published systems.

Files hold source ids; what is read from them holds class ids (see `seedbed.data.classes`).
"""

import re
from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassTable, Labels
from seedbed.data.layouts.xml_text import read_xml
from seedbed.data.lists import read_lines
from seedbed.data.text import compose, plain_name, shortened
from seedbed.formats.mat import read_mat
from seedbed.formats.pickles import restricted
from seedbed.runtime.errors import UserError

VOC_NUMBER = re.compile("20[01][0-9][0-9]{6}")


def read_annotation(path: Path) -> set[str]:
    """The class names of all objects of an annotation, difficult ones included.

    Objects that LabelMe (MIT's) keeps as deleted are left out. Raises UserError if the file is
    something else, or an object has no name.
    """
    root = read_xml(path, "annotation")
    if root.tag != "annotation":
        raise UserError(
            f"{path} is no annotation of VOC's, as it holds <{shortened(root.tag)}> and not "
            "<annotation>: correct it, or get it again"
        )
    objects = [e for e in root.findall("object") if (e.findtext("deleted") or "").strip() != "1"]
    try:
        names = {plain_name(element.findtext("name") or "") for element in objects}
    except UserError as error:  # a very long name
        raise UserError(f"{path}: {error}") from None
    if "" in names:
        raise UserError(f"an object in {path} has no name: give it its class")
    return names


def read_cls_labels(path: Path, table: ClassTable, ids: Container[str] = ()) -> Labels:
    """Read PSA's or IRN's cls_labels.npy, a dict from image id to a 0/1 vector over all source ids.

    IRN's keys are numbers: 2007000032 is the image 2007_000032, unless it is one of `ids` itself.
    """
    vectors = restricted.load(path)
    if not isinstance(vectors, Mapping):
        raise UserError(f"{path} holds no dict from image id to vector: write it again")
    labels: Labels = {}
    count = len(table.names)
    for key, vector in vectors.items():
        image_id = compose(str(key))
        if image_id not in ids and VOC_NUMBER.fullmatch(image_id):
            image_id = f"{image_id[:4]}_{image_id[4:]}"
        if not isinstance(vector, np.ndarray) or vector.shape != (count,):
            raise UserError(f"{image_id} in {path} is not an array of {count} values: correct it")
        if vector.dtype.kind not in "biuf" or not np.isin(vector, (0, 1)).all():
            raise UserError(f"{image_id} in {path} has values beside 0 and 1: correct it")
        if image_id in labels:
            raise UserError(f"{image_id} is in {path} twice: take one of them out")
        labels[image_id] = table.labels_of((np.flatnonzero(vector) + 1).tolist(), path)
    return labels


def read_train_cls(path: Path, table: ClassTable) -> Labels:
    """Read Group-WSSS' train_cls.txt, lines of "id c1 c2 ..." whose classes count from 0."""
    labels = {}
    for line in read_lines(path):
        image_id, *numbers = line.split()
        if image_id in labels or not all(re.fullmatch("[0-9]{1,9}", number) for number in numbers):
            raise UserError(
                f"line {line!r} of {path} is not 'id c1 c2', or its id is there twice: correct it"
            )
        labels[image_id] = table.labels_of((int(number) + 1 for number in numbers), path)
    return labels


def read_sbd_mask(path: Path) -> np.ndarray:
    """Read SBD's `.mat` file of a mask as source ids (H, W) uint8."""
    try:
        content = read_mat(path)
    except Exception as error:  # the reader fails in many ways on a broken file
        raise UserError(f"cannot read the SBD mask {path}: {error}; get it again") from error
    struct = content.get("GTcls")
    mask = struct.get("Segmentation") if isinstance(struct, Mapping) else None
    if not isinstance(mask, np.ndarray) or mask.dtype.kind not in "biuf" or mask.ndim != 2:
        raise UserError(f"{path} holds no GTcls.Segmentation: give the files of SBD's folder cls")
    with np.errstate(invalid="ignore"):
        ids = mask.astype(np.uint8)
    if not np.array_equal(ids, mask):
        raise UserError(
            f"the SBD mask {path} holds values that are no class ids: give SBD's own file"
        )
    return ids
