"""The index: which images there are, of which split, with which tags."""

import gc
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassInfo, ClassTable
from seedbed.formats.masks import VOC_PALETTE
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ImageEntry:
    """An image: `path` relative to the data folder, `labels` the sorted class ids (1..K)."""

    id: str
    path: str
    height: int
    width: int
    labels: tuple[int, ...]
    split: str
    has_mask: bool
    sha256: str


@dataclass(frozen=True)
class Index:
    """Classes (id = place + 1) and images, in the order of the lists: train, val, test.

    `label_source` says where the tags are from; `audit_list` holds the ids of VOC's own train
    list, which is scored apart from the augmented one (empty if the data has none).
    """

    classes: tuple[ClassInfo, ...]
    images: tuple[ImageEntry, ...]
    label_source: str
    audit_list: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: Path) -> "Index":
        """Read an index; raises UserError if it is missing or not one."""
        gc.disable()  # nothing here is garbage, and looking for it would take half of the time
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            return cls(
                tuple(ClassInfo(**info) for info in content["classes"]),
                tuple(
                    ImageEntry(**{**entry, "labels": tuple(entry["labels"])})
                    for entry in content["images"]
                ),
                content["label_source"],
                tuple(content["audit_list"]),
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise UserError(f"cannot read the index {path}: {error}; remake it") from error
        finally:
            gc.enable()

    def save(self, path: Path) -> None:
        """Write the index as JSON, with the classes' colours in masks (background first).

        An image is a line, and goes out by itself: the text of a million would fill gigabytes.
        """
        head = {
            "audit_list": self.audit_list,
            "classes": [asdict(info) for info in self.classes],
            "label_source": self.label_source,
            "palette": VOC_PALETTE[: self.num_classes].tolist(),
        }
        encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
        with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(f'{encode(head)[:-1]}, "images": [')
            for number, entry in enumerate(self.images):
                file.write(f"{',' if number else ''}\n{encode(vars(entry))}")
            file.write("\n]}\n")

    @property
    def num_classes(self) -> int:
        """Number of classes, background included: K + 1."""
        return len(self.classes) + 1

    @property
    def class_names(self) -> list[str]:
        """Names by class id, "background" first."""
        return ["background", *(info.name for info in self.classes)]

    @property
    def table(self) -> ClassTable:
        """Between these class ids and the ids in published files."""
        return ClassTable(self.classes)

    def split(self, name: str) -> list[ImageEntry]:
        """Give the images of train, val or test in list order (none if there is no such list)."""
        if name not in SPLITS:
            raise ValueError(f"name: {name!r} is not one of {', '.join(SPLITS)}")
        return [entry for entry in self.images if entry.split == name]

    @cached_property
    def _entries(self) -> dict[str, ImageEntry]:
        return {entry.id: entry for entry in self.images}

    def entry(self, image_id: str) -> ImageEntry:
        """Give one image by its id; raises UserError if the index has none of that id."""
        if image_id not in self._entries:
            raise UserError(f"image {image_id} is not in the index: remake it, or mend the list")
        return self._entries[image_id]

    def tags(self, entry: ImageEntry) -> np.ndarray:
        """Give a bool array (K + 1,): which classes the image is tagged with, background always."""
        present = np.zeros(self.num_classes, dtype=bool)
        present[[0, *entry.labels]] = True
        return present
