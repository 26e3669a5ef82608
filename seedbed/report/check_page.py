"""A page of a data set before any run: some images with their labels and masks."""

import base64
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from seedbed.data.check import Checked
from seedbed.data.classes import ids_in
from seedbed.data.images import read_entry
from seedbed.data.index import SPLITS, ImageEntry
from seedbed.data.source import Source
from seedbed.formats.overlay import overlay
from seedbed.formats.palette import VOC_PALETTE, VOID
from seedbed.formats.tables import write_text
from seedbed.report.page import render
from seedbed.report.pictures import downsample, fit_size, resize_nearest

COUNT = 24  # images on the page
SIDE = 360  # longer side of a picture, in pixels
GOLDEN = (5**0.5 - 1) / 2  # multiples of it, less their whole part, are spread evenly


def write_check_page(path: Path, source: Source, data: Path, checked: Sequence[Checked]) -> int:
    """Write the page, which needs no other file; returns the number of its images.

    Args:
        path: of the page.
        source: the data set.
        data: the folder that paths of images are relative to.
        checked: what `check_images` returned.

    """
    entries = choose(checked, COUNT)
    classes = [
        {"name": info.name, "id": info.source_id, "colour": _colour(k)}
        for k, info in enumerate(source.table.classes, 1)
    ]
    counts = {split: sum(entry.split == split for entry, _ in checked) for split in SPLITS}
    values = {
        "source": source.label_source,
        "counts": {split: count for split, count in counts.items() if count},
        "classes": classes,
        "void": _colour(VOID),
        "images": [_shown(entry, source, data, classes) for entry in entries],
        "total": len(checked),
    }
    write_text(path, render("check.html.j2", **values))
    return len(entries)


def choose(checked: Sequence[Checked], count: int) -> list[ImageEntry]:
    """Choose images evenly over splits and classes, and over the images of each; in their order.

    The split's classes take turns, each with its next image that is not chosen yet; those with a
    mask come first, as only they show an order of the classes that is wrong. Images without a class
    count as a class of their own.
    """
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, (entry, ids) in enumerate(checked):
        for class_id in {*entry.labels, *(ids or ())} or {0}:
            groups[SPLITS.index(entry.split), class_id].append(number)
    queues = [
        sorted(_spread(groups[key]), key=lambda number: checked[number][1] is None)
        for key in _spread(sorted(groups))
    ]
    chosen: dict[int, None] = {}
    while len(chosen) < min(count, len(checked)):
        for queue in queues:
            free = (number for number in queue if number not in chosen)
            if len(chosen) < count and (number := next(free, None)) is not None:
                chosen[number] = None
    return [checked[number][0] for number in sorted(chosen)]


def _spread(items: Sequence[Any]) -> list[Any]:
    """Items in an order whose beginning, of any length, is spread evenly over them."""
    return [items[k] for k in sorted(range(len(items)), key=lambda k: k * GOLDEN % 1)]


def _shown(
    entry: ImageEntry, source: Source, data: Path, classes: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """What the page shows of an image: its pictures, and the classes of its labels and mask."""
    image = read_entry(data, entry)
    mask = source.mask(entry.id, image.shape[:2])
    size = fit_size(*image.shape[:2], SIDE)
    small = downsample(image, size)
    shown: dict[str, Any] = {
        "id": entry.id,
        "split": entry.split,
        "size": size,
        "photo": _data_url(small),
        "labels": [classes[label - 1] for label in entry.labels],
        "masked": None,
    }
    if mask is None:
        return shown
    ids = ids_in(mask)
    shown["masked"] = _data_url(overlay(small, resize_nearest(mask, size)))
    shown["ids"] = [classes[k - 1] for k in ids]
    shown["void"] = bool((mask == VOID).any())
    shown["lacking"] = [classes[k - 1]["name"] for k in sorted({*entry.labels} - {*ids})]
    shown["unlabelled"] = [classes[k - 1]["name"] for k in sorted({*ids} - {*entry.labels})]
    return shown


def _colour(value: int) -> str:
    return f"rgb({','.join(map(str, VOC_PALETTE[value].tolist()))})"


def _data_url(picture: np.ndarray) -> str:
    """A picture (h, w, 3) uint8 as a JPEG within the page."""
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
