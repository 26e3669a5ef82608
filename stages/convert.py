"""Read a VOC devkit (and SBD): check every file, write the index, the masks and a summary."""

from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated

import numpy as np

from seedbed.artefacts import write_maps, write_text, write_tsv
from seedbed.cues import by_image, read_cue_labels
from seedbed.data.classes import ClassTable, ids_in
from seedbed.data.images import read_image
from seedbed.data.index import SPLITS, ImageEntry, Index
from seedbed.data.voc import Devkit, Labels, image_numbers, read_list, read_source_mask
from seedbed.errors import UserError
from seedbed.mask_files import export_source_masks
from stages.command import Data, Workers, run_stage
from stages.settings import ConvertSettings

BATCH = 256  # images whose masks are in memory at once


def read_lists(devkit: Devkit, settings: ConvertSettings) -> dict[str, str]:
    """Give the split of every image id, in the order of the lists; no image has two splits."""
    names = (settings.train_list, settings.val_list, settings.test_list)
    splits: dict[str, str] = {}
    for split, name in zip(SPLITS, names, strict=True):
        path = devkit.image_list(name) if name else None
        for image_id in read_list(path) if path else ():
            if image_id in splits:
                raise UserError(f"{image_id} in {path} is a {splits[image_id]} image: take it out")
            splits[image_id] = split
    return splits


def audit_list(devkit: Devkit, train: Iterable[str]) -> tuple[str, ...]:
    """Give the train images that are on VOC's own train list; none if there is no such list."""
    path = devkit.image_list("train")
    return tuple(sorted(set(read_list(path)) & set(train))) if path.is_file() else ()


def check_train_labels(labels: Labels, table: ClassTable, train: list[str], source: str) -> None:
    """See that every train image has a class, and every class a train image."""
    for image_id in train:
        if not labels.get(image_id):
            raise UserError(
                f"train image {image_id} has no class in {source}: label it, or unlist it"
            )
    seen = {class_id for image_id in train for class_id in labels[image_id]}
    for class_id, info in enumerate(table.classes, 1):
        if class_id not in seen:
            raise UserError(
                f"no train image has a {info.name} in {source}: take it off the classes"
            )


def cue_labels(
    path: Path | None, listing: Path | None, table: ClassTable, train: list[str]
) -> Labels:
    """Read the class ids of the train images from the file of the localisation cues."""
    if path is None:
        raise UserError("label_source: cues needs --cue-pickle: name the file")
    found = by_image(read_cue_labels(path), image_numbers(train, listing), path)
    return {image_id: table.labels_of(ids, path) for image_id, ids in found.items()}


def shuffle(labels: Labels, train: list[str], seed: int) -> Labels:
    """Deal the label vectors of the train images out among them at random."""
    order = np.random.default_rng(seed).permutation(len(train))
    return labels | {one: labels[train[other]] for one, other in zip(train, order, strict=True)}


@dataclass(frozen=True)
class Checker:
    """Decodes images with their masks and makes their index entries."""

    data: Path
    devkit: Devkit
    table: ClassTable
    labels: Labels

    def __call__(self, image_id: str, split: str) -> tuple[ImageEntry, np.ndarray | None]:
        """Give the entry of an image and its mask (H, W) of class ids, if it has one."""
        path = self.devkit.image(image_id)
        height, width, _ = read_image(path).shape
        mask = self._mask(image_id, split, (height, width))
        entry = ImageEntry(
            id=image_id,
            path=self._within_data(path),
            height=height,
            width=width,
            labels=self._labels(image_id, mask),
            split=split,
            has_mask=mask is not None,
            sha256=sha256(path.read_bytes()).hexdigest(),
        )
        return entry, mask

    def _within_data(self, path: Path) -> str:
        return (path.relative_to(self.data) if path.is_relative_to(self.data) else path).as_posix()

    def _labels(self, image_id: str, mask: np.ndarray | None) -> tuple[int, ...]:
        """Give an image's classes; those of its mask if the source of the labels lacks it."""
        if image_id in self.labels or mask is None:
            return self.labels.get(image_id, ())
        return ids_in(mask)

    def _mask(self, image_id: str, split: str, size: tuple[int, int]) -> np.ndarray | None:
        path = self.devkit.mask(image_id, split)
        if path is None and split == "val":
            where = self.devkit.root / "SegmentationClass"
            raise UserError(
                f"val image {image_id} has no mask in {where}: put {image_id}.png there"
            )
        if path is None:
            return None
        mask = read_source_mask(path)
        if mask.shape != size:
            raise UserError(f"mask {path} is {mask.shape}, its image {size}: make it the same size")
        return self.table.mask_of(mask, path)


def check_all(
    check: Checker, splits: dict[str, str], workers: int
) -> Iterator[tuple[ImageEntry, np.ndarray | None]]:
    """Check the images with some threads (decoding frees the interpreter), in order."""
    items = list(splits.items())
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            yield from pool.map(check, *zip(*batch, strict=True))


def summarise(index: Index) -> list[dict[str, object]]:
    """Count images by split and class; a split's total also counts images without a class."""
    rows: list[dict[str, object]] = []
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
    cue_pickle: Annotated[Path | None, "DSRG's pickle, for label_source cues"] = None,
    cue_list: Annotated[Path | None, "its input_list.txt; else the train list's order"] = None,
) -> None:
    """Convert a devkit; nothing is written unless every file of it is in order."""
    sbd = data / settings.sbd if settings.sbd else None
    devkit = Devkit(data / settings.devkit, sbd, settings.train_masks)
    splits = read_lists(devkit, settings)
    train = [image_id for image_id, split in splits.items() if split == "train"]
    table = devkit.class_table(train, settings.classes)
    if settings.label_source == "cues":
        labels = cue_labels(cue_pickle, cue_list, table, train)
    else:
        labels = devkit.labels(settings.label_source, table, splits)
    check_train_labels(labels, table, train, settings.label_source)
    if settings.shuffle_tags:
        labels = shuffle(labels, train, settings.seed)
    entries = []
    with write_maps(masks) as maps:
        for entry, mask in check_all(Checker(data, devkit, table, labels), splits, workers):
            entries.append(entry)
            if mask is not None:
                maps.put(entry.id, mask)
    export_source_masks(masks, mask_folder, table)
    source = settings.label_source + (", shuffled" if settings.shuffle_tags else "")
    made = Index(table.classes, tuple(entries), source, audit_list(devkit, train))
    made.save(index)
    write_text(input_list, "".join(f"{one}.jpg {k}\n" for k, one in enumerate(train)))
    write_tsv(summary, summarise(made))


def main() -> None:
    """Run the stage from the command line."""
    run_stage(convert)


if __name__ == "__main__":
    main()
