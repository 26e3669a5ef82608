"""Whether a data set, wherever it lies now, is the one that an index was made from."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import chain
from pathlib import Path

import numpy as np

from seedbed.data.classes import ids_in
from seedbed.data.index import ImageEntry, Index
from seedbed.data.source import Source
from seedbed.formats.maps import Maps
from seedbed.runtime.errors import UserError


def find_difference(
    source: Source, index: Index, masks: Path, data: Path, workers: int
) -> str | None:
    """What differs first between a data set and an index with its masks; None if nothing does.

    Images are compared by the SHA-256 of their files, masks by their class ids.

    Args:
        source: the data set.
        index: what was made from it.
        masks: HDF5 file of the masks that belong to the index.
        data: the folder that the index' paths are relative to.
        workers: number of threads.

    Raises:
        UserError: if a file is missing or broken.

    """
    if source.table.classes != index.classes:
        return "the classes"
    if source.splits != {entry.id: entry.split for entry in index.images}:
        return "the list of images"
    if (source.label_source, source.audit_list) != (index.label_source, index.audit_list):
        return "the source of the labels"
    if source.mask_coding != index.mask_coding:
        return "what the masks' values or colours mean"
    with Maps(masks) as maps, ThreadPoolExecutor(workers) as pool:
        changed = pool.map(lambda entry: _differs(source, entry, data), index.images)
        different = chain(
            (f"image {e.id}" for e, found in zip(index.images, changed, strict=True) if found),
            _changed_masks(source, index, maps),
        )
        return next(different, None)


def _differs(source: Source, entry: ImageEntry, data: Path) -> bool:
    """Whether an image's file, place or labels differ from those of its entry."""
    path = source.images[entry.id]
    labels = source.labels.get(entry.id, entry.labels)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read the image {path}: {error.strerror}") from error
    return (
        sha256(content).hexdigest() != entry.sha256
        or tuple(labels) != entry.labels
        or path.resolve() != (data / entry.path).resolve()
    )


def _changed_masks(source: Source, index: Index, maps: Maps) -> Iterator[str]:
    for entry in index.images:
        mask = source.mask(entry.id, (entry.height, entry.width))
        unlabelled = entry.id not in source.labels and mask is not None
        if (
            (mask is not None) != entry.has_mask
            or (mask is not None and not np.array_equal(mask, maps[entry.id]))
            or (unlabelled and ids_in(mask) != entry.labels)
        ):
            yield f"the mask of {entry.id}"
