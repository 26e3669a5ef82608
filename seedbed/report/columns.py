"""The columns of the gallery: pictures of soft maps and cues, then the masks of the chain."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from seedbed.data.index import ImageEntry
from seedbed.evaluation.chain import REFINED, ChainFiles, Step, pseudo_label_steps, round_steps
from seedbed.formats.maps import Maps
from seedbed.formats.overlay import cue_preview
from seedbed.report.pictures import class_picture, grey_picture, resize_nearest

# Headings of the steps that are shown, in their order; {} is the number of the round.
HEADINGS = {
    "pseudo_labels": "pseudo label",
    "targets": "round {} target",
    "predictions": "round {}",
    f"predictions{REFINED}": "round {} + CRF",
}


@dataclass(frozen=True)
class PictureColumn:
    """A column of pictures.

    `draw` takes the map file, the image's id and its photo (h, w, 3) uint8 in the gallery's size,
    and returns a picture of the photo's shape.
    """

    title: str
    maps: Maps
    draw: Callable[[Maps, str, np.ndarray], np.ndarray]

    def __contains__(self, entry: ImageEntry) -> bool:
        return entry.id in self.maps


def picture_columns(
    files: ChainFiles, *, group_cams: Sequence[Path], walks: Sequence[Path]
) -> list[PictureColumn]:
    """Columns for the maps and cues that there are, in the order of the chain."""
    columns = [
        ("CAM", files.cams, draw_class_maps),
        ("group CAM", group_cams, draw_class_maps),
        ("random walk", walks, draw_class_maps),
        ("saliency", files.saliency, draw_saliency),
        ("seeds", files.cues, draw_cues),
    ]
    return [PictureColumn(title, Maps(paths), draw) for title, paths, draw in columns if paths]


def mask_columns(files: ChainFiles) -> Mapping[str, Sequence[Step]]:
    """The steps with masks by heading, round by round: a step for each split."""
    kinds = list(HEADINGS)
    steps = [s for s in (*pseudo_label_steps(files), *round_steps(files)) if s.name in kinds]
    steps.sort(key=lambda s: (-1 if s.round is None else s.round, kinds.index(s.name)))
    columns = defaultdict(list)
    for step in steps:
        columns[HEADINGS[step.name].format(step.round)].append(step)
    return columns


def draw_class_maps(maps: Maps, image_id: str, photo: np.ndarray) -> np.ndarray:
    """Class maps (K, H, W): the class with the highest value at each pixel."""
    scores = resize_nearest(maps.floats(image_id), photo.shape[:2])
    return class_picture(scores, maps.attributes(image_id)["classes"])


def draw_saliency(maps: Maps, image_id: str, photo: np.ndarray) -> np.ndarray:
    """Saliency (H, W) in grey."""
    return grey_picture(resize_nearest(maps.floats(image_id), photo.shape[:2]))


def draw_cues(maps: Maps, image_id: str, photo: np.ndarray) -> np.ndarray:
    """Cues (C, g, g) over the photo."""
    return cue_preview(photo, maps[image_id])
