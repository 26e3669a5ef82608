"""Statistics of localisation cues, comparable with those of the published cue files."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CueStatistics:
    """Coverage of the cues of a data set; `str` gives two lines of text.

    Attributes:
        images: number of images.
        background: mean share of the grid that holds a background cue.
        foreground: mean share of the grid that holds a foreground cue.
        smallest: least number of foreground cells of an image.
        largest: greatest number of foreground cells of an image.
        labels: number of foreground labels → number of images that have as many.
        multi_labelled: cells with cues of more than one class.
        without_background: images without a background cue.
        without_foreground: images without a foreground cue.
        labels_without_cue: number of labels, of all images, whose class has no cue there.

    """

    images: int
    background: float
    foreground: float
    smallest: int
    largest: int
    labels: dict[int, int]
    multi_labelled: int
    without_background: int
    without_foreground: int
    labels_without_cue: int

    def __str__(self) -> str:
        labels = ", ".join(f"{count}: {images}" for count, images in self.labels.items())
        return (
            f"{self.images} images: {self.background:.1%} background, {self.foreground:.1%} "
            f"foreground ({self.smallest} to {self.largest} cells), {self.multi_labelled} cells of "
            f"several classes\nimages by number of labels: {labels}; without background "
            f"{self.without_background}, without foreground {self.without_foreground}; "
            f"labels without a cue {self.labels_without_cue}"
        )


def cue_statistics(cues: Iterable[np.ndarray], labels: Iterable[Sequence[int]]) -> CueStatistics:
    """Statistics of the cues, (C, g, g) bool per image, and of the foreground labels, 1..C-1.

    At least one image; all grids have the same size.
    """
    counts = []
    numbers_of_labels: list[int] = []
    without_cue = 0
    for cue, classes in zip(cues, labels, strict=True):
        background, foreground, several = cue[0], cue[1:].any(axis=0), cue.sum(axis=0) > 1
        counts.append([np.count_nonzero(cells) for cells in (background, foreground, several)])
        grid_cells = background.size
        numbers_of_labels.append(len(classes))
        of_labels = cue[np.asarray(classes, dtype=int)]
        without_cue += np.count_nonzero(~of_labels.any(axis=(1, 2)))
    background, foreground, several = np.transpose(counts)
    return CueStatistics(
        images=len(counts),
        background=float(background.mean() / grid_cells),
        foreground=float(foreground.mean() / grid_cells),
        smallest=int(foreground.min()),
        largest=int(foreground.max()),
        labels=dict(sorted(Counter(numbers_of_labels).items())),
        multi_labelled=int(several.sum()),
        without_background=int((background == 0).sum()),
        without_foreground=int((foreground == 0).sum()),
        labels_without_cue=int(without_cue),
    )
