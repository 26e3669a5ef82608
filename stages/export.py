"""Write an artefact as a folder of files in a published format, in the data set's class ids."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from PIL import Image

from seedbed.data.classes import ClassTable
from seedbed.data.index import ImageEntry, Index
from seedbed.formats.group_wsss import write_attention
from seedbed.formats.maps import Maps, quantise
from seedbed.formats.masks import write_mask
from seedbed.formats.psa import write_cam, write_scores
from seedbed.formats.tables import write_text
from seedbed.runtime.atomic import atomic_folder
from seedbed.runtime.errors import UserError
from seedbed.runtime.progress import progress
from stages.command import run_stage


@dataclass(frozen=True)
class Source:
    """The maps to export, the table of the data set's own class ids, and the style of masks."""

    maps: Maps
    table: ClassTable
    style: str

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
        """An image's mask (H, W) uint8 in source ids; confidences of labels are left out."""
        mask = self.maps[entry.id]
        if mask.dtype != np.uint8 or mask.ndim not in (2, 3):
            raise _mismatch(entry, f"{mask.dtype} of shape {mask.shape}")
        return self.table.source_mask(mask if mask.ndim == 2 else mask[0])

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
        str, "cam, affinity_low, affinity_high, saliency, attention, masks or selected"
    ],
    index: Annotated[Path, "dataset/index.json"],
    maps: Annotated[list[Path], "the artefact's HDF5 files"],
    folder: Annotated[Path, "to write; it is replaced"],
    style: Annotated[str, "of masks: palette, or grey as in DSRG"] = "palette",
) -> None:
    """Write the files of all images in an artefact."""
    if what not in FORMATS:
        raise UserError(f"--what {what}: choose one of {', '.join(FORMATS)}")
    if style not in MASK_WRITERS:
        raise UserError(f"--style {style}: choose one of {', '.join(MASK_WRITERS)}")
    dataset, arrays = Index.load(index), Maps(maps)
    for image_id in arrays:
        dataset.entry(image_id)  # raises for maps of another data set
    entries = [entry for entry in dataset.images if entry.id in arrays]
    if not entries:
        raise UserError("--maps: there is no image in the files: remake them, or give others")
    with atomic_folder(folder) as temporary:
        FORMATS[what](Source(arrays, dataset.table, style), progress(entries), temporary)


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


def _save_grey(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(path)


MASK_WRITERS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "palette": write_mask,
    "grey": _save_grey,
}
FORMATS: dict[str, Callable[[Source, list[ImageEntry], Path], None]] = {
    "cam": write_cams,
    "affinity_low": write_low_scores,
    "affinity_high": write_high_scores,
    "saliency": write_saliency,
    "attention": write_attentions,
    "masks": write_masks,
    "selected": write_selected,
}


if __name__ == "__main__":
    run_stage(export)
