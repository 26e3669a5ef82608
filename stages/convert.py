"""Read a data set, check every file, and write its index, masks and a summary.

With --check nothing is written but a page of some images with their masks, check.html: the data
set and all its problems are described. Nothing is written with --compare, which tells whether the
data set is still the one that an index was made from.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Annotated

import numpy as np

from seedbed.data.check import check_images, dark_images, describe, list_problems
from seedbed.data.classes import Labels
from seedbed.data.compare import find_difference
from seedbed.data.given_masks import export_source_masks
from seedbed.data.index import SHUFFLED, SPLITS, Index
from seedbed.data.layouts.coco import coco_source
from seedbed.data.layouts.devkit import Devkit, devkit_source
from seedbed.data.layouts.folder import folder_source
from seedbed.data.mask_names import NO_NAMES, MaskNames
from seedbed.data.source import (
    OnProblem,
    Source,
    check_classes,
    check_masks,
    decode_all,
    raise_problem,
)
from seedbed.formats.maps import write_maps
from seedbed.formats.tables import write_text, write_tsv
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from stages.command import Data, Workers, run_stage
from stages.settings import ConvertSettings

CuePickle = Annotated[Path | None, "DSRG's pickle, for label_source cues"]
CueList = Annotated[Path | None, "its input_list.txt; else the train list's order"]
PAGE = Path("check.html")

# What reads a data set that is no devkit, by the key of `convert` that holds its paths.
LAYOUTS: dict[str, Callable[..., Source]] = {
    "folder": folder_source,
    "coco": coco_source,
}


def open_source(
    settings: ConvertSettings,
    data: Path,
    on_problem: OnProblem,
    cue_pickle: Path | None = None,
    cue_list: Path | None = None,
) -> Source:
    """Read the lists and labels of a data set in the layout that the settings choose."""
    source = _open_layout(settings, data, on_problem, cue_pickle, cue_list)
    return replace(source, bits=settings.bits)


def _open_layout(
    settings: ConvertSettings,
    data: Path,
    on_problem: OnProblem,
    cue_pickle: Path | None,
    cue_list: Path | None,
) -> Source:
    names = mask_names(settings, data)
    if settings.layouts:
        ((key, layout),) = settings.layouts.items()
        paths = {name: data / path for name, path in layout if path}
        return LAYOUTS[key](
            **paths,
            classes=settings.classes,
            keep_negatives=settings.keep_negatives,
            mask_names=names,
            on_problem=on_problem,
        )
    sbd = data / settings.sbd if settings.sbd else None
    lists = (settings.train_list, settings.val_list, settings.test_list)
    return devkit_source(
        Devkit(data / settings.devkit, sbd, settings.train_masks),
        lists=dict(zip(SPLITS, lists, strict=True)),
        label_source=settings.label_source,
        classes=settings.classes,
        keep_negatives=settings.keep_negatives,
        cue_pickle=cue_pickle,
        cue_list=cue_list,
        mask_names=names,
        on_problem=on_problem,
    )


def as_used(source: Source, settings: ConvertSettings) -> Source:
    """The data set with the labels that are used: those that were read, or shuffled ones."""
    if not settings.shuffle_tags:
        return source
    shuffled = shuffle(source.labels, source.train, settings.seed)
    return replace(source, labels=shuffled, label_source=f"{source.label_source}{SHUFFLED}")


def mask_names(settings: ConvertSettings, data: Path) -> MaskNames:
    """What the config says that masks hold, or a labelmap.txt beside the masks."""
    if isinstance(settings.mask_colours, str):
        return MaskNames(labelmap=data / settings.mask_colours)
    if settings.mask_values or settings.mask_colours:
        return MaskNames(settings.mask_values, settings.mask_colours)
    found = (data / name for name in settings.labelmaps if (data / name).is_file())
    return next((MaskNames(labelmap=path) for path in found), NO_NAMES)


def shuffle(labels: Labels, train: list[str], seed: int) -> Labels:
    """Permute the label vectors of the train images at random."""
    order = np.random.default_rng(seed).permutation(len(train))
    return labels | {own: labels[train[other]] for own, other in zip(train, order, strict=True)}


def summarise(index: Index, notes: Sequence[str]) -> list[dict[str, object]]:
    """Count images by split and class; the total of a split includes images without labels.

    The notes on the data set come first, a row each.
    """
    rows: list[dict[str, object]] = [
        {"split": "note", "class": note, "images": ""} for note in notes
    ]
    for split in SPLITS:
        if not (entries := index.split(split)):
            continue
        counts = Counter(label for entry in entries for label in entry.labels)
        for class_id, info in enumerate(index.classes, 1):
            rows.append({"split": split, "class": info.name, "images": counts[class_id]})
        rows.append({"split": split, "class": "total", "images": len(entries)})
    return [*rows, {"split": "total", "class": "total", "images": len(index.images)}]


def convert(
    *,
    index: Annotated[Path, "writes the index (JSON)"],
    input_list: Annotated[Path, "writes DSRG's list of the train images, '{id}.jpg {k}'"],
    masks: Annotated[Path, "writes the masks, in class ids (HDF5)"],
    mask_folder: Annotated[Path, "writes the masks as PNGs, in the data set's own ids"],
    summary: Annotated[Path, "writes the numbers of images by split and class (TSV)"],
    settings: ConvertSettings,
    data: Data,
    workers: Workers = 1,
    cue_pickle: CuePickle = None,
    cue_list: CueList = None,
) -> None:
    """Convert a data set; nothing is written if any of its files has a problem."""
    as_read = open_source(settings, data, raise_problem, cue_pickle, cue_list)
    check_classes(as_read, raise_problem)
    source = as_used(as_read, settings)
    entries = []
    with write_maps(masks) as maps:
        decoded = decode_all(source, data, workers, raise_problem)
        for entry, mask in progress(decoded, total=len(source.splits)):
            entries.append(entry)
            if mask is not None:
                maps.put(entry.id, mask)
        check_masks(as_read, raise_problem)
    export_source_masks(masks, mask_folder, source.table, source.mask_coding)
    dataset = Index(
        source.table.classes,
        tuple(entries),
        source.label_source,
        source.audit_list,
        source.mask_coding,
    )
    dataset.save(index)
    lines = (f"{image_id}.jpg {k}\n" for k, image_id in enumerate(source.train))
    write_text(input_list, "".join(lines))
    write_tsv(summary, summarise(dataset, source.notes))
    for note in (*source.notes, *dark_images(entries)):
        print(f"note: {note}")


def compare_with_index(
    *,
    index: Annotated[Path, "dataset/index.json"],
    masks: Annotated[Path, "dataset/masks.h5"],
    settings: ConvertSettings,
    data: Data,
    workers: Workers = 1,
    cue_pickle: CuePickle = None,
    cue_list: CueList = None,
) -> None:
    """Compare a data set with an index; ends with an error if they differ. Writes nothing."""
    source = open_source(settings, data, raise_problem, cue_pickle, cue_list)
    check_classes(source, raise_problem)
    source = as_used(source, settings)
    different = find_difference(source, Index.load(index), masks, data, workers)
    if different:
        raise UserError(f"{data}: {different} is not what {index} was made from; convert it again")


def check(
    *,
    settings: ConvertSettings,
    data: Data,
    workers: Workers = 1,
    rounds: Annotated[int, "rounds of the recipe, for the disk space"] = 3,
    cue_pickle: CuePickle = None,
    cue_list: CueList = None,
    page: Annotated[Path, "to write: a page of images with their labels and masks"] = PAGE,
) -> None:
    """Describe a data set and all its problems; writes nothing but a page of some images."""
    problems: list[str] = []
    try:
        source = open_source(settings, data, problems.append, cue_pickle, cue_list)
        checked = check_images(source, data, workers, problems)
        print(describe(source, checked, rounds))
        if checked:
            # By name, so that no change of the report's code remakes a conversion.
            report = import_module("seedbed.report.check_page")
            shown = report.write_check_page(page, source, data, checked)
            print(f"page: {shown} images with their labels and masks in {page}")
    except UserError as error:
        problems.append(str(error))
    if problems:
        print(list_problems(problems))
        raise UserError(f"problems in the data set: {len(problems)}; correct them first")


if __name__ == "__main__":
    run_stage(convert, modes={"--check": check, "--compare": compare_with_index})
