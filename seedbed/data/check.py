"""Checks a data set before a run and describes what it contains."""

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from seedbed.data.classes import ids_in
from seedbed.data.images import is_dark
from seedbed.data.index import SPLITS, ImageEntry
from seedbed.data.mask_check import mask_lines, mask_notes
from seedbed.data.source import Source, check_classes, check_masks, decode_all
from seedbed.data.text import count_with_examples

MAX_SHOWN = 20  # problems that are printed; further ones are only counted
# Bytes on disk per pixel, measured on the default run and on photographs. Predictions have about
# three channels beside those of the labels, of 16 bits each before compression.
CHANNEL_BYTES = 1.5
ROUND_BYTES = 3 * CHANNEL_BYTES + 0.4
FIXED_BYTES = 1.2  # before the rounds
ATTENTION_BYTES = 1.0  # before the rounds, for each label of an image

Checked = tuple[ImageEntry, tuple[int, ...] | None]  # an image and the ids in its mask


def check_images(source: Source, data: Path, workers: int, problems: list[str]) -> list[Checked]:
    """Decode every image and mask; appends whatever a conversion would refuse to `problems`."""
    check_classes(source, problems.append)
    checked = [
        (entry, None if mask is None else ids_in(mask))
        for entry, mask in decode_all(source, data, workers, problems.append)
    ]
    check_masks(source, problems.append)
    return checked


def describe(source: Source, checked: Sequence[Checked], rounds: int) -> str:
    """Describe a data set in lines of text: classes, sizes, disk space and notes."""
    entries = [entry for entry, _ in checked]
    counts = Counter(entry.split for entry in entries)
    lines = [
        f"{source.label_source}: {len(source.table.classes)} classes, "
        + ", ".join(f"{counts[split]} {split}" for split in SPLITS)
        + " images in order",
        *_class_lines(source, checked),
        *mask_lines(source.mask_forms.values()),
        *(_size_lines(entries, rounds) if entries else []),
        *(f"note: {note}" for note in (*source.notes, *_notes(source, checked))),
    ]
    return "\n".join(lines)


def list_problems(problems: Sequence[str]) -> str:
    """The first problems, a line each, and the number of the others."""
    lines = [f"problem: {' '.join(problem.split())}" for problem in problems[:MAX_SHOWN]]
    more = [f"and {len(problems) - MAX_SHOWN} more"] if len(problems) > MAX_SHOWN else []
    return "\n".join(lines + more)


def disk_space(entries: Sequence[ImageEntry]) -> tuple[float, float]:
    """Estimate the bytes that a run writes before its rounds, and in each round.

    The networks' weights are not included.
    """
    before = sum(
        entry.height * entry.width * (FIXED_BYTES + ATTENTION_BYTES * len(entry.labels))
        for entry in entries
        if entry.split == "train"
    )
    each = sum(
        entry.height * entry.width * (ROUND_BYTES + CHANNEL_BYTES * len(entry.labels))
        for entry in entries
    )
    return before, each


def _class_lines(source: Source, checked: Sequence[Checked]) -> list[str]:
    """A table of the number of images of each split, and of masks, that have each class."""
    tagged = Counter((entry.split, c) for entry, _ in checked for c in entry.labels)
    masked = Counter(c for _, ids in checked for c in ids or ())
    names = [info.name for info in source.table.classes]
    width = max(map(len, names))
    head = "".join(f"{name:>8}" for name in (*SPLITS, "masks"))
    rows = [
        f"{info.source_id:>4} {info.name:<{width}}"
        + "".join(f"{tagged[split, c]:>8}" for split in SPLITS)
        + f"{masked[c]:>8}"
        for c, info in enumerate(source.table.classes, 1)
    ]
    return [f"{'id':>4} {'class':<{width}}{head}", *rows]


def _size_lines(entries: Sequence[ImageEntry], rounds: int) -> list[str]:
    by_area = sorted(entries, key=lambda entry: entry.height * entry.width)
    least, most = (f"{entry.width} x {entry.height}" for entry in (by_area[0], by_area[-1]))
    middle = median(entry.height * entry.width for entry in entries) / 1e6
    before, each = (value / 1e9 for value in disk_space(entries))
    free = shutil.disk_usage(".").free / 1e9
    return [
        f"sizes: {least} to {most} pixels, median {middle:.2g} megapixels",
        f"disk: about {before + rounds * each:.2g} GB for {rounds} rounds ({each:.2g} GB each) and "
        f"the networks; {free:.3g} GB are free here",
    ]


def dark_images(entries: Iterable[ImageEntry]) -> list[str]:
    """A remark on images that use only the lower of 16 bits and are read nearly black."""
    dark = {entry.id: entry.highest or 0 for entry in entries if is_dark(entry)}
    bits = max(8, *(highest.bit_length() for highest in dark.values()), 8)
    return count_with_examples(
        f"images of 16 bits a channel use only the lower {bits} and are read nearly black: set "
        f"convert.bits to {bits} if the camera has so many",
        dark,
    )


def _notes(source: Source, checked: Sequence[Checked]) -> list[str]:
    pairs = [(entry.id, set(entry.labels), set(ids)) for entry, ids in checked if ids is not None]
    notes = count_with_examples(
        "train images have no class and count as background",
        (entry.id for entry, _ in checked if entry.split == "train" and not entry.labels),
    )
    names = Counter(info.name.casefold() for info in source.table.classes)
    notes += count_with_examples(
        "classes are spelt like another one but for capitals",
        (info.name for info in source.table.classes if names[info.name.casefold()] > 1),
    )
    if not any(entry.split == "val" for entry, _ in checked):
        notes.append("there is no val image: set evaluate.split to train")
    if not pairs:
        notes.append("there is no mask, so nothing can be scored: ask for masks.h5 alone")
    return [
        *notes,
        *dark_images(entry for entry, _ in checked),
        *mask_notes(source.mask_forms.values()),
        *count_with_examples(
            "masks hold a class that the labels lack", (i for i, a, b in pairs if b - a)
        ),
        *count_with_examples(
            "masks lack a class that the labels have", (i for i, a, b in pairs if a - b)
        ),
    ]
