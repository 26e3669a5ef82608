"""The index of a data set: its classes, and each image's file, split and labels."""

import gc
import json
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from seedbed.data.classes import ClassInfo, ClassTable
from seedbed.formats.mask_coding import MaskCoding
from seedbed.formats.palette import VOC_PALETTE
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

SPLITS = ("train", "val", "test")
SHUFFLED = ", shuffled"  # suffix of `label_source` when the labels were permuted
UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class ImageEntry:
    """An image; `path` is relative to the data folder, `labels` are sorted class ids (1..K).

    Of a file with 16 bits a channel, `bits` are those that count and `highest` is its highest
    level; the file of the index leaves them out where they are None.
    """

    id: str
    path: str
    height: int
    width: int
    labels: tuple[int, ...]
    split: str
    has_mask: bool
    sha256: str
    bits: int | None = None
    highest: int | None = None

    def no_maps(self) -> np.ndarray:
        """The maps (0, H, W) uint8 of the classes of an image without labels."""
        return np.zeros((0, self.height, self.width), dtype=np.uint8)

    def background(self) -> np.ndarray:
        """A mask (H, W) uint8 of background: what an image without labels is known to show."""
        return np.zeros((self.height, self.width), dtype=np.uint8)


@dataclass(frozen=True)
class Index:
    """The classes and images of a data set.

    Attributes:
        classes: in the order of their class ids, which start at 1.
        images: in the order of the lists: train, val, test.
        label_source: where the image-level labels are from.
        audit_list: the ids of VOC's own train list, which is also scored separately from the
            augmented list; empty if there is no such list.
        mask_coding: what the user's own values or colours in mask files mean, in the data set's own
            ids; None if masks hold those ids, or VOC's colours.

    """

    classes: tuple[ClassInfo, ...]
    images: tuple[ImageEntry, ...]
    label_source: str
    audit_list: tuple[str, ...] = ()
    mask_coding: MaskCoding | None = None

    @classmethod
    def load(cls, path: Path) -> "Index":
        """Read an index; raises UserError if the file is missing or not an index."""
        gc.disable()  # there is no garbage here, and looking for it takes half of the time
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            coding = content.get("mask_coding")
            return cls(
                tuple(ClassInfo(**info) for info in content["classes"]),
                tuple(
                    ImageEntry(**{**entry, "labels": tuple(entry["labels"])})
                    for entry in content["images"]
                ),
                content["label_source"],
                tuple(content["audit_list"]),
                MaskCoding.from_json(coding) if coding else None,
            )
        except UNREADABLE as error:
            raise UserError(f"cannot read the index {path}: {error}; remake it") from error
        finally:
            gc.enable()

    def save(self, path: Path) -> None:
        """Write the index as JSON, with the classes' mask colours (background first).

        Images are encoded one by one, a line each: the text of a million takes gigabytes.
        """
        head = {
            "audit_list": self.audit_list,
            "classes": [asdict(info) for info in self.classes],
            "label_source": self.label_source,
            "mask_coding": self.mask_coding.to_json() if self.mask_coding else None,
            "palette": VOC_PALETTE[: self.num_classes].tolist(),
        }
        encode = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode
        with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            file.write(f'{encode(head)[:-1]}, "images": [')
            for number, entry in enumerate(self.images):
                file.write(f"{',' if number else ''}\n{encode(_without_none(entry))}")
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
    def is_shuffled(self) -> bool:
        """Whether the train images have the labels of others, as `shuffle_tags` deals them."""
        return self.label_source.endswith(SHUFFLED)

    @property
    def table(self) -> ClassTable:
        """The table that converts class ids to the data set's own ids and back."""
        return ClassTable(self.classes)

    def split(self, name: str) -> list[ImageEntry]:
        """The images of train, val or test in the order of the list; empty without a list."""
        if name not in SPLITS:
            raise ValueError(f"name: {name!r} is not one of {', '.join(SPLITS)}")
        return [entry for entry in self.images if entry.split == name]

    @cached_property
    def _entries(self) -> dict[str, ImageEntry]:
        return {entry.id: entry for entry in self.images}

    def entry(self, image_id: str) -> ImageEntry:
        """The image of an id; raises UserError if the index has no such image."""
        if image_id not in self._entries:
            raise UserError(f"image {image_id} is not in the index: remake it, or correct the list")
        return self._entries[image_id]

    def tags(self, entry: ImageEntry) -> np.ndarray:
        """Which classes an image is labelled with, bool (K + 1,); background is always present."""
        present = np.zeros(self.num_classes, dtype=bool)
        present[[0, *entry.labels]] = True
        return present


def _without_none(entry: ImageEntry) -> dict[str, object]:
    return {key: value for key, value in vars(entry).items() if value is not None}
