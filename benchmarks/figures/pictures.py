"""The pictures of README and the tutorial: steps of the default run on the first data set."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from seedbed.data.images import read_entry
from seedbed.data.index import ImageEntry, Index
from seedbed.evaluation.chain import ChainFiles
from seedbed.evaluation.metrics import confusion_matrix
from seedbed.formats.maps import Maps
from seedbed.formats.palette import VOID
from seedbed.report.columns import mask_columns, picture_columns
from seedbed.report.pictures import MASK_PALETTE, error_map
from seedbed.runtime.atomic import atomic
from seedbed.runtime.errors import UserError

FOLDER = Path("docs/pictures")
DATA = Path("data")
# The scenes that the texts beside the pictures describe. By the IoU of their own masks, those of
# val were at the 90th, 50th, 25th and 5th percentile when they were chosen.
TRAIN = ("2012_000040", "2012_000233", "2012_000223", "2012_000191")
VAL = ("2012_000296", "2012_000285", "2012_000256", "2012_000273")
PHOTO, TRUTH, ERRORS, CRF = "photo", "truth", "errors of ", " + CRF"
GAP = 4  # pixels between two scenes
ENLARGED = 2  # pixels of the tutorial's pictures for one of a scene


class Scenes:
    """The images of a run, and its steps drawn by heading: those of the report, truth and errors.

    Args:
        run: the folder of the run.
        data: the folder that image paths are relative to.

    """

    def __init__(self, run: Path, data: Path) -> None:
        index = Index.load(run / "dataset/index.json")
        self.entries = index.images
        self._num_classes = index.num_classes
        self._data = data
        self._truth = Maps(run / "dataset/masks.h5")
        files = chain_files(run)
        columns = picture_columns(files, group_cams=sorted(run.glob("group/cam/*.h5")), walks=())
        self._pictures = {column.title: column for column in columns}
        self._masks = mask_columns(files)
        self.last_round = max(step.round or 0 for steps in self._masks.values() for step in steps)
        self.final = f"round {self.last_round}{CRF}"

    def chosen(self, ids: Sequence[str]) -> list[ImageEntry]:
        """Images by their ids; UserError if the run has no such image."""
        by_id = {entry.id: entry for entry in self.entries}
        if missing := set(ids) - by_id.keys():
            raise UserError(
                f"the run has no images {', '.join(sorted(missing))}, which the pages show: "
                "make it with the data sets of config.yaml"
            )
        return [by_id[id_] for id_ in ids]

    def draw(self, heading: str, entry: ImageEntry) -> np.ndarray:
        """An image's step: (H, W, 3) uint8."""
        if heading == PHOTO:
            return self._photo(entry)
        if heading in self._pictures:
            return self._draw_picture(heading, entry)
        if heading.startswith(ERRORS):
            mask = self._mask(heading.removeprefix(ERRORS), entry)
            return MASK_PALETTE[error_map(self._truth[entry.id], mask)]
        return MASK_PALETTE[self._mask(heading, entry)]

    def iou(self, heading: str, entry: ImageEntry) -> float:
        """Mean IoU of an image's mask, over the classes in it or in the ground truth."""
        mask = self._mask(heading, entry)
        return confusion_matrix(self._truth[entry.id], mask, self._num_classes).miou()

    def _photo(self, entry: ImageEntry) -> np.ndarray:
        return read_entry(self._data, entry)

    def _draw_picture(self, heading: str, entry: ImageEntry) -> np.ndarray:
        """Maps and cues; class maps are drawn over the darkened photo."""
        column, photo = self._pictures[heading], self._photo(entry)
        picture = column.draw(column.maps, entry.id, photo)
        if not heading.endswith("CAM"):
            return picture
        grey = photo.mean(axis=2, keepdims=True) / 2
        return np.maximum(picture, grey).astype(np.uint8)

    def _mask(self, heading: str, entry: ImageEntry) -> np.ndarray:
        """A mask (H, W) uint8; void where the step has none of the image."""
        if heading == TRUTH:
            return self._truth[entry.id]
        masks = (step.mask(entry) for step in self._masks[heading] if entry in step)
        mask = next(masks, None)
        return np.full((entry.height, entry.width), VOID, np.uint8) if mask is None else mask


def chain_files(run: Path) -> ChainFiles:
    """The map files of a run by artefact."""
    patterns = {
        "cams": "cam/*.h5",
        "saliency": "saliency/*.h5",
        "cues": "seeds/cues.h5",
        "pseudo_labels": "pseudo_labels.h5",
        "targets": "rounds/*/targets.h5",
        "predictions": "rounds/*/predictions/*/*.h5",
        "refined": "rounds/*/masks/*/*.h5",
    }
    return ChainFiles(**{name: sorted(run.glob(glob)) for name, glob in patterns.items()})


def write_pictures(
    folder: Path, scenes: Scenes, *, train: Sequence[ImageEntry], val: Sequence[ImageEntry]
) -> None:
    """Write the pictures of README and the tutorial, of scenes of the train and the val split."""
    chain = (PHOTO, "CAM", "saliency", "seeds", "pseudo label", scenes.final, TRUTH)
    rows = [[scenes.draw(heading, entry) for heading in chain] for entry in train[:3]]
    write_sheet(folder / "chain.jpg", rows)
    sheets = {name: (headings, train) for name, headings in of_train(scenes.last_round).items()}
    sheets["val.jpg"] = (PHOTO, scenes.final, ERRORS + scenes.final), val
    for name, (headings, entries) in sheets.items():
        rows = [[scenes.draw(heading, entry) for entry in entries] for heading in headings]
        write_sheet(folder / name, rows, enlarged=ENLARGED)


def of_train(last_round: int) -> Mapping[str, Sequence[str]]:
    """The headings of the rows of the tutorial's pictures of train scenes."""
    rounds = range(last_round + 1)
    refined = [f"round {round_}{CRF}" for round_ in rounds]
    return {
        "photos.jpg": [PHOTO],
        "cam.jpg": ["CAM"],
        "saliency.jpg": ["saliency"],
        "seeds.jpg": ["seeds"],
        "group.jpg": ["group CAM"],
        "pseudo_labels.png": ["pseudo label"],
        "targets.png": [f"round {round_} target" for round_ in rounds[1:]],
        "masks.png": ["round 0", *refined, TRUTH],
        "errors.png": [ERRORS + refined[0], ERRORS + refined[-1]],
    }


def write_sheet(path: Path, rows: Sequence[Sequence[np.ndarray]], enlarged: int = 1) -> None:
    """Write rows of pictures (H, W, 3) uint8 of one size, with white gaps between them."""
    cells = np.array(rows)  # (rows, columns, H, W, 3)
    cells = cells.repeat(enlarged, axis=2).repeat(enlarged, axis=3)
    cells = np.pad(cells, ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    height, width = cells.shape[0] * cells.shape[2], cells.shape[1] * cells.shape[3]
    sheet = cells.swapaxes(1, 2).reshape(height, width, 3)[:-GAP, :-GAP]
    with atomic(path) as temporary:  # PNG has no quality
        Image.fromarray(sheet).save(temporary, quality=88, subsampling=0, optimize=True)
