"""Write an artefact as a folder of files in a published format, in the data set's class ids."""

import json
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image

from seedbed.data.annotation_names import AnnotationNames
from seedbed.data.classes import ClassTable
from seedbed.data.coco_exchange import coco_content
from seedbed.data.index import ImageEntry, Index
from seedbed.data.labelme import labelme_content
from seedbed.formats.group_wsss import write_attention
from seedbed.formats.levels import quantise
from seedbed.formats.maps import Maps
from seedbed.formats.masks import write_mask
from seedbed.formats.psa import write_cam, write_scores
from seedbed.formats.tables import write_text
from seedbed.runtime.atomic import atomic_folder
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from stages.command import Data, run_stage

What = Literal[
    "cam",
    "affinity_low",
    "affinity_high",
    "saliency",
    "attention",
    "masks",
    "selected",
    "coco",
    "labelme",
]
Style = Literal["palette", "grey"]


@dataclass(frozen=True)
class Source:
    """What is exported.

    Attributes:
        maps: the maps to export.
        index: the data set.
        style: of masks.
        tolerance: of outlines, in pixels.
        images: the folder that paths in the index are relative to, seen from the exported one.

    """

    maps: Maps
    index: Index
    style: Style
    tolerance: float
    images: Path

    @property
    def table(self) -> ClassTable:
        """The table of the data set's own class ids."""
        return self.index.table

    def floats(self, entry: ImageEntry, dimensions: int) -> np.ndarray:
        """An image's array as float32; raises UserError for another number of dimensions."""
        array = self.maps.floats(entry.id)
        if array.ndim != dimensions:
            raise _mismatch(entry, f"an array of shape {array.shape}")
        return array

    def classes(self, entry: ImageEntry) -> list[int]:
        """The source ids of an image's maps; raises UserError if the maps have no classes."""
        return self.table.source_ids[self._attribute(entry, "classes")].tolist()

    def by_class(self, entry: ImageEntry) -> dict[int, np.ndarray]:
        """An image's maps by source id; raises UserError if there is one of background."""
        maps = dict(zip(self.classes(entry), self.floats(entry, 3), strict=True))
        if 0 in maps:
            raise _mismatch(entry, "a map of background")
        return maps

    def kept(self, entry: ImageEntry) -> bool:
        """Whether an image is in the training list; raises UserError if there is no list."""
        return bool(self._attribute(entry, "kept"))

    def labels(self, entry: ImageEntry) -> np.ndarray:
        """An image's mask (H, W) uint8 in source ids."""
        return self.table.source_mask(self.mask(entry))

    def mask(self, entry: ImageEntry) -> np.ndarray:
        """An image's mask (H, W) uint8 of class ids; confidences of labels are left out."""
        mask = self.maps[entry.id]
        if mask.dtype != np.uint8 or mask.ndim not in (2, 3):
            raise _mismatch(entry, f"{mask.dtype} of shape {mask.shape}")
        return mask if mask.ndim == 2 else mask[0]

    def _attribute(self, entry: ImageEntry, name: str) -> Any:  # noqa: ANN401 - what is stored
        attributes = self.maps.attributes(entry.id)
        if name not in attributes:
            raise _mismatch(entry, f"no attribute {name}")
        return attributes[name]


def _mismatch(entry: ImageEntry, content: str) -> UserError:
    return UserError(f"--maps: {entry.id} has {content}: these are not the files of --what")


def export(
    *,
    what: Annotated[
        What,
        "cam, affinity_low, affinity_high, saliency, attention, masks, selected, coco or labelme",
    ],
    index: Annotated[Path, "dataset/index.json"],
    maps: Annotated[list[Path], "the artefact's HDF5 files"],
    folder: Annotated[Path, "to write; it is replaced"],
    style: Annotated[Style, "of masks: palette, or grey as in DSRG"] = "palette",
    tolerance: Annotated[float, "of labelme's outlines, in pixels; 0: exact"] = 1.0,
    data: Data = Path("data"),
) -> None:
    """Write the files of all images in an artefact."""
    if not 0 <= tolerance < math.inf:
        raise UserError(f"--tolerance {tolerance}: give pixels, 0 for exact outlines")
    dataset, arrays = Index.load(index), Maps(maps)
    for image_id in arrays:
        dataset.entry(image_id)  # raises for maps of another data set
    entries = [entry for entry in dataset.images if entry.id in arrays]
    if not entries:
        raise UserError("--maps: there is no image in the files: remake them, or give others")
    with atomic_folder(folder) as temporary:
        images = Path(os.path.relpath(data.resolve(), folder.resolve()))
        source = Source(arrays, dataset, style, tolerance, images)
        FORMATS[what](source, progress(entries), temporary)


def write_cams(source: Source, entries: Iterable[ImageEntry], folder: Path) -> None:
    """PSA's `{id}.npy`: float32 (H, W) by source id - 1."""
    for entry in entries:
        write_cam(folder / f"{entry.id}.npy", source.by_class(entry))


def write_low_scores(source: Source, entries: Iterable[ImageEntry], folder: Path) -> None:
    """PSA's `{id}.npy` after the CRF with low alpha: float32 (H, W) by source id, 0 background."""
    _write_scores(source, entries, folder, alpha=0)


def write_high_scores(source: Source, entries: Iterable[ImageEntry], folder: Path) -> None:
    """PSA's `{id}.npy` after the CRF with high alpha."""
    _write_scores(source, entries, folder, alpha=1)


def _write_scores(source: Source, entries: Iterable[ImageEntry], folder: Path, alpha: int) -> None:
    for entry in entries:
        scores = source.floats(entry, 4)[alpha]
        by_class = zip(source.classes(entry), scores, strict=True)
        write_scores(folder / f"{entry.id}.npy", dict(by_class))


def write_saliency(source: Source, entries: Iterable[ImageEntry], folder: Path) -> None:
    """8-bit grey PNGs `{id}.png`; 255 is most salient."""
    for entry in entries:
        _save_grey(folder / f"{entry.id}.png", quantise(source.floats(entry, 2)))


def write_attentions(source: Source, entries: Iterable[ImageEntry], folder: Path) -> None:
    """Group-WSSS' 8-bit grey `{id}_{source id - 1}.png`, of the maps' size."""
    for entry in entries:
        write_attention(folder, entry.id, source.by_class(entry))


def write_masks(source: Source, entries: Iterable[ImageEntry], folder: Path) -> None:
    """PNGs `{id}.png` of source ids; 255 is void."""
    for entry in entries:
        MASK_WRITERS[source.style](folder / f"{entry.id}.png", source.labels(entry))


def write_selected(source: Source, entries: Iterable[ImageEntry], folder: Path) -> None:
    """SPSM's training list, `list.txt`, and the masks of its images."""
    kept = [entry for entry in entries if source.kept(entry)]
    (folder / "masks").mkdir()
    write_masks(source, kept, folder / "masks")
    lines = [f"/JPEGImages/{Path(entry.path).name} /masks/{entry.id}.png\n" for entry in kept]
    write_text(folder / "list.txt", "".join(lines))


def write_coco(source: Source, entries: Iterable[ImageEntry], folder: Path) -> None:
    """COCO's `annotations.json`: a region of run lengths for each class of an image."""
    content = coco_content(((entry, source.mask(entry)) for entry in entries), source.index)
    write_text(folder / "annotations.json", json.dumps(content, ensure_ascii=False))


def write_labelme(source: Source, entries: Iterable[ImageEntry], folder: Path) -> None:
    """Labelme's `{id}.json`: the outlines of all regions, and where the image is."""
    names = AnnotationNames(source.index.class_names[1:]).names
    for entry in entries:
        image = (source.images / entry.path).as_posix()
        content = labelme_content(source.mask(entry), names, image, tolerance=source.tolerance)
        write_text(folder / f"{entry.id}.json", json.dumps(content, ensure_ascii=False, indent=1))


def _save_grey(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(path)


MASK_WRITERS: dict[Style, Callable[[Path, np.ndarray], None]] = {
    "palette": write_mask,
    "grey": _save_grey,
}
FORMATS: dict[What, Callable[[Source, list[ImageEntry], Path], None]] = {
    "cam": write_cams,
    "affinity_low": write_low_scores,
    "affinity_high": write_high_scores,
    "saliency": write_saliency,
    "attention": write_attentions,
    "masks": write_masks,
    "selected": write_selected,
    "coco": write_coco,
    "labelme": write_labelme,
}


if __name__ == "__main__":
    run_stage(export)
