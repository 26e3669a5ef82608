"""Turn masks that were corrected in an annotation tool into the PNGs that a round is trained on."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from seedbed.data.annotation_names import AnnotationNames, ImageNames
from seedbed.data.coco_exchange import read_coco_masks
from seedbed.data.file_names import files_of
from seedbed.data.given_masks import save_own_mask
from seedbed.data.index import ImageEntry, Index
from seedbed.data.labelme import draw_labelme, read_labelme
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from stages.command import Data, run_stage


def import_masks(
    *,
    index: Annotated[Path, "dataset/index.json"],
    annotations: Annotated[Path, "a folder of labelme's JSON files, or a JSON file of COCO's"],
    masks: Annotated[Path, "folder to write masks to, {id}.png; others in it stay"],
    data: Data,
) -> None:
    """Write the mask of every annotated image; nothing is written if one of them has a problem."""
    dataset = Index.load(index)
    if annotations.is_dir():
        read = partial(labelme_masks, annotations, dataset)
    else:
        read = partial(read_coco_masks, annotations, dataset, data)
    empty = [entry.id for entry, mask in read() if not mask.any()]
    count = 0
    for entry, mask in progress(read()):
        with atomic(masks / f"{entry.id}.png") as path:
            save_own_mask(path, dataset.table.source_mask(mask), dataset.mask_coding)
        count += 1
    print(f"{count} masks in {masks}, of which {len(empty)} are background alone")


def labelme_masks(folder: Path, dataset: Index) -> Iterator[tuple[ImageEntry, np.ndarray]]:
    """The masks of class ids of a folder of labelme's files."""
    files = files_of(folder, [".json"])
    if not files:
        raise UserError(f"{folder} contains no JSON file: name labelme's folder, or COCO's file")
    names, images, seen = AnnotationNames(dataset.class_names[1:]), ImageNames(dataset), {}
    for path in files:
        content = read_labelme(path)
        entry = images.entry(content.imagePath or path.stem, path)
        if (other := seen.setdefault(entry.id, path)) != path:
            raise UserError(f"{other} and {path} are both of {entry.id}: take one out")
        yield entry, draw_labelme(content, path, (entry.height, entry.width), names)


if __name__ == "__main__":
    run_stage(import_masks)
