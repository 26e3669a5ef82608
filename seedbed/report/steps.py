"""What the gallery shows of each step: how its map files become pictures and masks."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from seedbed.data.index import ImageEntry
from seedbed.formats.maps import Maps
from seedbed.formats.overlay import cue_preview
from seedbed.report.pictures import class_picture, grey_picture, sample

# How a step looks: its maps, the image's id and its small photo (h, w, 3) → (h, w, 3) uint8.
Paint = Callable[[Maps, str, np.ndarray], np.ndarray]
# What a step says: its maps and the image's id → class ids (H, W) uint8; None: not this image.
Label = Callable[[Maps, str], np.ndarray | None]
Show = TypeVar("Show", Paint, Label)


@dataclass(frozen=True)
class Step(Generic[Show]):
    """A column of the gallery: its heading, its artefact, and how that is shown."""

    title: str
    maps: Maps
    show: Show

    def __contains__(self, entry: ImageEntry) -> bool:
        return entry.id in self.maps


def painted_steps(
    *,
    cams: Sequence[Path] = (),
    group_cams: Sequence[Path] = (),
    walks: Sequence[Path] = (),
    saliency: Sequence[Path] = (),
    cues: Sequence[Path] = (),
) -> list[Step[Paint]]:
    """The steps before there are masks, in their order, those without a file left out."""
    files = {
        "CAM": (cams, paint_classes),
        "group CAM": (group_cams, paint_classes),
        "random walk": (walks, paint_classes),
        "saliency": (saliency, paint_saliency),
        "seeds": (cues, paint_cues),
    }
    return [Step(title, Maps(paths), paint) for title, (paths, paint) in files.items() if paths]


def mask_steps(
    *,
    pseudo_labels: Sequence[Path] = (),
    targets: Sequence[Path] = (),
    predictions: Sequence[Path] = (),
    refined: Sequence[Path] = (),
) -> list[Step[Label]]:
    """The steps that have masks, in their order, those without a file left out."""
    first = [Step("pseudo label", Maps(pseudo_labels), Maps.__getitem__)] if pseudo_labels else []
    kinds = [
        ("round {} target", by_round(targets), kept_target),
        ("round {}", by_round(predictions), best_class),
        ("round {} + CRF", by_round(refined), refined_mask),
    ]
    numbers = sorted(set().union(*(maps for _, maps, _ in kinds)))
    rounds = [
        Step(title.format(number), maps[number], label)
        for number in numbers
        for title, maps, label in kinds
        if number in maps
    ]
    return [*first, *rounds]


def by_round(paths: Sequence[Path]) -> Mapping[int, Maps]:
    """Map files of all splits and shards by the round in their attributes."""
    groups: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        groups[Maps(path).file_attributes()["round"]].append(path)
    return {number: Maps(files) for number, files in groups.items()}


def paint_classes(maps: Maps, image_id: str, photo: np.ndarray) -> np.ndarray:
    """Class maps (K, H, W): the strongest class of each pixel."""
    found = sample(maps.floats(image_id), photo.shape[:2])
    return class_picture(found, maps.attributes(image_id)["classes"])


def paint_saliency(maps: Maps, image_id: str, photo: np.ndarray) -> np.ndarray:
    """Saliency (H, W) in grey."""
    return grey_picture(sample(maps.floats(image_id), photo.shape[:2]))


def paint_cues(maps: Maps, image_id: str, photo: np.ndarray) -> np.ndarray:
    """Cues (C, g, g) over the photo."""
    return cue_preview(photo, maps[image_id])


def kept_target(maps: Maps, image_id: str) -> np.ndarray | None:
    """A target that is trained on."""
    return maps[image_id] if maps.attributes(image_id)["kept"] else None


def best_class(maps: Maps, image_id: str) -> np.ndarray:
    """The most probable class of each pixel of probabilities (C', H, W)."""
    classes = np.asarray(maps.attributes(image_id)["classes"], dtype=np.uint8)
    # Halves that are not negative sort as their bits do, and integers compare much faster.
    return classes[np.asarray(maps[image_id], np.float16).view(np.uint16).argmax(axis=0)]


def refined_mask(maps: Maps, image_id: str) -> np.ndarray:
    """The label, without its confidence."""
    return maps[image_id][0]
