"""What a data set holds and what is wrong with it, in words, before hours are spent on it."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from seedbed.data.classes import ids_in
from seedbed.data.index import SPLITS, ImageEntry
from seedbed.data.source import Source, check_classes, decode_all, some

SHOWN = 20  # problems; the others are counted
# Bytes that a run keeps of each pixel, measured on the default run and on photographs: predictions
# hold about three channels beside those of the tags, 16 bits each before compression.
CHANNEL = 1.5
ROUND = 3 * CHANNEL + 0.4
BEFORE_ROUNDS = 1.2
ATTENTION = 1.0  # of a tag

Found = tuple[ImageEntry, tuple[int, ...] | None]  # an image and the ids in its mask


def check_images(source: Source, data: Path, workers: int, problems: list[str]) -> list[Found]:
    """Decode every image and mask; adds to `problems` what a conversion would stumble over."""
    check_classes(source, problems.append)
    return [
        (entry, None if mask is None else ids_in(mask))
        for entry, mask in decode_all(source, data, workers, problems.append)
    ]


def describe(source: Source, found: Sequence[Found], rounds: int) -> str:
    """Say what was found: classes, sizes, disk space and notes, a line each."""
    entries = [entry for entry, _ in found]
    counts = Counter(entry.split for entry in entries)
    lines = [
        f"{source.label_source}: {len(source.table.classes)} classes, "
        + ", ".join(f"{counts[split]} {split}" for split in SPLITS)
        + " images in order",
        *_class_lines(source, found),
        *(_size_lines(entries, rounds) if entries else []),
        *(f"note: {note}" for note in (*source.notes, *_notes(source, found))),
    ]
    return "\n".join(lines)


def list_problems(problems: Sequence[str]) -> str:
    """Give the first problems, a line each, and the number of the others."""
    lines = [f"problem: {' '.join(problem.split())}" for problem in problems[:SHOWN]]
    more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
    return "\n".join(lines + more)


def space(entries: Sequence[ImageEntry]) -> tuple[float, float]:
    """Estimate the bytes that a run keeps: before its rounds, and of each round.

    The networks' weights come on top.
    """
    before = sum(
        entry.height * entry.width * (BEFORE_ROUNDS + ATTENTION * len(entry.labels))
        for entry in entries
        if entry.split == "train"
    )
    each = sum(
        entry.height * entry.width * (ROUND + CHANNEL * len(entry.labels)) for entry in entries
    )
    return before, each


def _class_lines(source: Source, found: Sequence[Found]) -> list[str]:
    """A table: in how many images of each split a class is, and in how many masks."""
    tagged = Counter((entry.split, c) for entry, _ in found for c in entry.labels)
    masked = Counter(c for _, ids in found for c in ids or ())
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
    before, each = (value / 1e9 for value in space(entries))
    free = shutil.disk_usage(".").free / 1e9
    return [
        f"sizes: {least} to {most} pixels, median {middle:.2g} megapixels",
        f"disk: about {before + rounds * each:.2g} GB for {rounds} rounds ({each:.2g} GB each) and "
        f"the networks; {free:.3g} GB are free here",
    ]


def _notes(source: Source, found: Sequence[Found]) -> list[str]:
    pairs = [(entry.id, set(entry.labels), set(ids)) for entry, ids in found if ids is not None]
    notes = []
    if not any(entry.split == "val" for entry, _ in found):
        notes.append("there is no val image: set evaluate.split to train")
    if not pairs:
        notes.append("there is no mask, so nothing can be scored: ask for masks.h5 alone")
    return [
        *notes,
        *some("masks hold a class that the labels lack", (i for i, a, b in pairs if b - a)),
        *some("masks lack a class that the labels have", (i for i, a, b in pairs if a - b)),
    ]
